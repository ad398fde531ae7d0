"""Who did what, or was not let: one record of the audit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    """Whether it was allowed."""

    ALLOWED = "ALLOWED"
    DENIED = "DENIED"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One decision that mattered; never what a request holds.

    `writer` is a process, by node or gateway and boot: its records are counted by `sequence` from
    0, `previous` is the SHA-256 of the value of the one before (empty in the first), and all are
    signed with the private half of `public_key` (Ed25519, 32 bytes). `time` in Unix ms.
    """

    writer: str
    sequence: int
    previous: bytes
    time: int
    principal: str
    verb: str
    decision: Decision
    model: str | None = None
    request_id: str | None = None
    reason: str | None = None
    public_key: bytes = b""
