"""Who asks, and by which headers: set where a call comes in, read where something is done."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar

from modelmora.messages.headers import LOCAL

__all__ = ["LOCAL", "Given", "caller", "given", "said"]
Given = Iterable[tuple[str | bytes, str | bytes]]
caller: ContextVar[str] = ContextVar("caller", default=LOCAL)
"""The principal of this call; tasks that it starts have it too."""
given: ContextVar[Given] = ContextVar("given", default=())
"""The headers of this call, or its metadata, as they came: they hold the caller's key too."""


def said(headers: Given, name: str) -> str | None:
    """What a header says, by its name in lower case; None where there is none."""
    for key, value in headers:
        if (key.decode("latin-1") if isinstance(key, bytes) else key) == name:
            return value.decode("latin-1") if isinstance(value, bytes) else value
    return None
