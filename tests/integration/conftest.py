"""Fixtures that several of these tests use."""

from __future__ import annotations

from tests.guarded import guarded
from tests.integration.cli_rig import bare, world

__all__ = ["bare", "guarded", "world"]
