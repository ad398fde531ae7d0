"""A job: a request for which nobody waits, as it is told to whoever asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelmora.messages import ErrorInfo


class JobState(StrEnum):
    """How far a job has come; the last three are terminal."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in (JobState.QUEUED, JobState.PROCESSING)


@dataclass(frozen=True, slots=True)
class Job:
    """How a job stands; times are Unix ms.

    `position` is the number of requests ahead and `estimate_ms` the time until it starts, None
    where nobody knows (yet); `step` of `steps` is how far it has come. `held_until` is when its
    result is gone. Every ended job but a completed one has an `error`.
    """

    request_id: str
    model: str
    state: JobState
    submitted_at: int
    version: str = ""
    position: int | None = None
    estimate_ms: float | None = None
    step: int | None = None
    steps: int | None = None
    ended_at: int | None = None
    held_until: int | None = None
    error: ErrorInfo | None = None
