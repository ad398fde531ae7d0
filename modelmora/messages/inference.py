"""The two records that everyone meets: a request and its one outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum

from modelmora.errors import Code
from modelmora.messages.content import Content, Parameter


class Lane(IntEnum):
    """Priority lanes, the most urgent first; each is a topic of its own."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3

    @property
    def label(self) -> str:
        """The lane's name in topics and APIs."""
        return self.name.lower()


class Status(StrEnum):
    """How a request ended; all are terminal."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    REFUSED = "REFUSED"
    STOPPED = "STOPPED"


_STATUS = {
    Code.EXPIRED: Status.EXPIRED,
    Code.CANCELLED: Status.CANCELLED,
    Code.STOPPED: Status.STOPPED,
    Code.UNKNOWN_MODEL: Status.REFUSED,
    Code.UNKNOWN_PARAMETER: Status.REFUSED,
    Code.INVALID_INPUT: Status.REFUSED,
    Code.BUSY: Status.REFUSED,
    Code.STARTING: Status.REFUSED,
    Code.STOPPING: Status.REFUSED,
    Code.MODEL_UNAVAILABLE: Status.REFUSED,
    Code.CANNOT_BE_SERVED: Status.REFUSED,
    Code.FORBIDDEN: Status.REFUSED,
    Code.RATE_LIMITED: Status.REFUSED,
    Code.ID_REUSED: Status.REFUSED,
}
_UNJUDGED = frozenset(
    {
        Code.BUSY,
        Code.STARTING,
        Code.STOPPING,
        Code.MODEL_UNAVAILABLE,
        Code.CANNOT_BE_SERVED,
        Code.FORBIDDEN,
        Code.RATE_LIMITED,
        Code.EXPIRED,
        Code.CANCELLED,
        Code.STOPPED,
    }
)
_TRANSIENT = frozenset({Code.MODEL_UNAVAILABLE, Code.RETRIES_SPENT, Code.STORE_UNAVAILABLE})
"""The model could not be loaded, others brought down each process the request was given to, the
object store did not answer. All other codes speak of the request itself, of a wish of its caller,
or of what stays as it is."""


def outcome_status(code: Code) -> Status:
    """The status under which an error code ends a request."""
    return _STATUS.get(code, Status.FAILED)


def is_transient(code: Code) -> bool:
    """Whether it speaks of what may be otherwise after a while, and not of the request."""
    return code in _TRANSIENT


def is_final(error: ErrorInfo | None) -> bool:
    """Whether an outcome with this error, or without any, stands for its id.

    Asked again by the same id the request runs as the next run of it where
    (1) it was not judged: nobody had room or time for it, or its caller might not ask or took it
        back,
    (2) what may pass stood in its way, and its caller was told when to ask again.
    """
    if error is None:
        return True
    # (1)
    if error.code in _UNJUDGED:
        return False
    # (2)
    return not (error.code in _TRANSIENT and error.retry_after_ms is not None)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its inputs: all that a node needs to place it.

    `inputs` is how many it has at least: those of the first block of the Avro array, which is the
    only one unless its writer made more. `inputs_at` is where they begin in the record's value.
    """

    request_id: str
    model: str
    task: str | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    timeout_ms: int | None = None
    progress: bool = False
    inputs: int = 0
    inputs_at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a caller asks; `model` is `name` or `name@version`, or empty with `task` set.

    `timeout_ms` counts from the first append to the broker; None is the node's setting.
    """

    request_id: str
    model: str
    inputs: tuple[Content, ...]
    task: str | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    timeout_ms: int | None = None
    progress: bool = False


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why there is no result; `retry_after_ms` where trying again can help."""

    code: Code
    message: str
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds spent waiting, loading the model, computing, and in all."""

    queue_ms: float = 0.0
    load_ms: float = 0.0
    inference_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where the request's record lies."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class ResultHead:
    """An outcome without its outputs, which the child has encoded already."""

    request_id: str
    status: Status
    model: str
    version: str
    source: Source
    settings: Mapping[str, Parameter] = field(default_factory=dict)
    error: ErrorInfo | None = None
    timings: Timings = Timings()
    attempt: int = 1
    run: int = 1


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The terminal outcome of one run of a request; `settings` are those used in fact.

    `run` is 1, and one more for each replay of its dead letter: the highest holds.
    """

    request_id: str
    status: Status
    model: str
    version: str
    source: Source
    settings: Mapping[str, Parameter] = field(default_factory=dict)
    error: ErrorInfo | None = None
    timings: Timings = Timings()
    attempt: int = 1
    outputs: tuple[Content, ...] = ()
    run: int = 1

    @property
    def head(self) -> ResultHead:
        """All but the outputs."""
        return ResultHead(**{each.name: getattr(self, each.name) for each in fields(ResultHead)})
