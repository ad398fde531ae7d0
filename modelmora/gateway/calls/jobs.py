"""A job: a request for which nobody waits, and what was heard of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from modelmora.errors import Code
from modelmora.kafka.topics import HOUR, TABLE, Topic
from modelmora.messages import ErrorInfo, JobRecord, ProgressEvent, ProgressStage, Status

HELD_MS = TABLE[Topic.RESULTS].retention_ms or HOUR
"""How long a result is there after its job has ended."""
_CODES = frozenset(Code)


class JobState(StrEnum):
    """How far a job has come; the last five are terminal."""

    QUEUED = "queued"
    LOADING = "loading"
    """It waits for its model, which is being loaded."""
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    """Those who computed it were stopped before it was complete."""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in (JobState.QUEUED, JobState.LOADING, JobState.PROCESSING)


_ENDS = {
    Status.COMPLETED: JobState.COMPLETED,
    Status.EXPIRED: JobState.EXPIRED,
    Status.CANCELLED: JobState.CANCELLED,
    Status.STOPPED: JobState.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Job:
    """How a job stands; times are Unix ms.

    `position` is the number of requests ahead and `estimate_ms` the time until it starts, None
    where nobody knows (yet); `step` of `steps` is how far it has come, tokens of a text where there
    are no `steps`. `held_until` is when its
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


@dataclass(slots=True, eq=False)
class Card:
    """All that was heard of one job, in whatever order."""

    written: JobRecord | None = None
    end: JobRecord | None = None
    told: ProgressEvent | None = None
    """The newest that says where it stands."""
    told_of: tuple[str, bool] | None = None
    """Whose request the first that was told is of, and whether that is a job."""
    asker: str | None = None
    """Who has it asked here, while nobody has written down yet that it is theirs."""
    content: str = ""
    """What is asked, where that is known; see `wire.content_digest`."""
    looked_at: float = 0.0
    """When the topics were last looked through for it (loop time)."""
    listeners: list[Callable[[ProgressEvent | None], None]] = field(default_factory=list)
    """Each is given what is told of it, and None when it has ended."""

    @property
    def principal(self) -> str | None:
        """Whose it is; None while nobody has said that it is a job."""
        note = self.written or self.end
        return note.principal if note else None

    def meet(self, end: JobRecord) -> bool:
        """Take an end that a result tells, if it is of this job; it may not be written down yet."""
        own = end.principal in (self.principal, self.asker)
        if own:
            self.note(end)
        return own

    def note(self, record: JobRecord, content: str = "") -> None:
        """Take a record of `jobs`, or the end that a result tells: the highest run holds.

        Whose it is say those who wrote it down, who are gateways; an end of another principal's is
        passed over: it is of a request that somebody wrote by the same id.
        """
        if record.status is None:
            if self.written is None and self.end and self.end.principal != record.principal:
                self.end = None
            self.content = self.content or content
            self.written = self.written or record
        elif self.principal not in (None, record.principal):
            return
        elif self.end is None or record.run > self.end.run:
            self.end = record
            for listener in self.listeners:
                listener(None)

    def hear(self, event: ProgressEvent, principal: str, *, job: bool) -> None:
        """Take what is told of the way of this principal's request; another's is passed over."""
        self.told_of = self.told_of or (principal, job)
        if self.end or self.told_of[0] != principal or self.principal not in (None, principal):
            return
        self.told = event
        for listener in self.listeners:
            listener(event)

    def job(self) -> Job:
        """How it stands, by all that was heard."""
        first = self.written or self.end
        assert first is not None  # noqa: S101 - asked for where it has a principal
        job = Job(first.request_id, first.model, JobState.QUEUED, first.time)
        if self.end:
            return _ended(job, self.end)
        told = self.told
        if told is None:
            return job
        if told.stage is ProgressStage.ACCEPTED:
            state = JobState.LOADING if told.loading else JobState.QUEUED
            wait_ms = told.estimate_ms
            return replace(job, state=state, position=told.position, estimate_ms=wait_ms)
        running = replace(job, state=JobState.PROCESSING, position=0)
        return replace(running, step=told.step, steps=told.steps)


def _ended(job: Job, end: JobRecord) -> Job:
    assert end.status is not None  # noqa: S101 - a record of an end
    error = None
    if end.status is not Status.COMPLETED:
        told = end.code or str(end.status)
        known = Code(told) if told in _CODES else None
        message = end.message if known else f"{told}: {end.message}"
        error = ErrorInfo(known or Code.INFERENCE_FAILED, message)
    return replace(
        job,
        state=_ENDS.get(end.status, JobState.FAILED),
        version=end.version,
        ended_at=end.time,
        held_until=end.time + HELD_MS,
        error=error,
    )
