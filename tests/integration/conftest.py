"""Fixtures that several of these tests use."""

from __future__ import annotations

from tests.integration.cli_rig import bare, world

__all__ = ["bare", "world"]
