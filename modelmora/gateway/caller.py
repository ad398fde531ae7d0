"""Who asks: set where a call comes in, read where something is done for it."""

from __future__ import annotations

from contextvars import ContextVar

from modelmora.messages.headers import LOCAL

__all__ = ["LOCAL", "caller"]
caller: ContextVar[str] = ContextVar("caller", default=LOCAL)
"""The principal of this call; tasks that it starts have it too."""
