"""What is told of files and batches of requests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BatchKind(StrEnum):
    """What a record tells; those of FILE and DELETED are of a file, the others of a batch."""

    FILE = "FILE"
    DELETED = "DELETED"
    BATCH = "BATCH"
    CLAIMED = "CLAIMED"
    BEGUN = "BEGUN"
    PART = "PART"
    BEAT = "BEAT"
    CANCEL = "CANCEL"
    RELEASED = "RELEASED"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One thing that is told of a file or a batch; `time` in Unix ms, `details` a JSON object.

    `gateway` and `term` are set where a gateway tells of a batch that it works on.
    """

    id: str
    principal: str
    kind: BatchKind
    time: int
    gateway: str = ""
    term: int = 0
    details: str = "{}"
