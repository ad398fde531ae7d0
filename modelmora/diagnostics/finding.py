"""What a check says: how it ended, what it found, what is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check ended; only WRONG makes the exit code 1."""

    OK = "ok"
    NOTE = "note"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `fix` says what to do where something is to be done."""

    state: State
    check: str
    found: str
    fix: str = ""
