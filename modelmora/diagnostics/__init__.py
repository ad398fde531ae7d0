"""Looks at a machine and at a cluster, and returns what it found."""

from __future__ import annotations

from modelmora.diagnostics.checks import examine
from modelmora.diagnostics.finding import Finding, State

__all__ = ["Finding", "State", "examine"]
