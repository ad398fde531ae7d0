"""What a client is told: answers, pieces of them, jobs, models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from modelmora.client.errors import CallError, told_of
from modelmora.messages import Content, Parameter, Timings
from modelmora.rpc.contents import content_of, parameters_of


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered, one output for each input or as its task has it.

    `settings` are what it used and counted: `seed`, `finish_reason`, `prompt_tokens`.
    """

    request_id: str
    model: str
    version: str
    outputs: tuple[Content, ...]
    timings: Timings = field(default_factory=Timings)
    settings: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A node has taken the request: so many are ahead, so long until it starts, where known.

    Told again as the line moves; `loading`: its model is being loaded.
    """

    position: int | None = None
    estimate_ms: float | None = None
    loading: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """It is computed, for so many a time."""

    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Text:
    """More of a text; `anew`: what came before is void, and this is all of it until now."""

    text: str
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """So many of its steps are done."""

    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a large output (its number, from 0), behind those that came before."""

    output: int
    data: bytes


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job stands; times are Unix ms, None where nobody knows (yet).

    `state` is queued, loading, processing, completed, failed, expired, cancelled or stopped; `step`
    counts steps, or tokens of a text where there are no `steps`; `held_until` is when the result is
    gone; `error` is why it ended without one.
    """

    id: str
    model: str
    version: str
    state: str
    submitted_at: int
    position: int | None = None
    estimate_ms: float | None = None
    step: int | None = None
    steps: int | None = None
    ended_at: int | None = None
    held_until: int | None = None
    error: CallError | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.ended_at is not None


Piece: TypeAlias = Accepted | Started | Text | Step | Chunk | Answer
Progress: TypeAlias = Accepted | Started | Text | Step | Chunk


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the registry; see `GET /models` of REST for `details` and `facts`."""

    name: str
    version: str
    task: str
    source: str
    engine: str
    active: bool
    declared: bool
    state: str
    reason: str
    max_inputs: int | None
    etag: str
    details: Mapping[str, Any]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model is on a node, and what it holds there as far as it is told."""

    node: str
    name: str
    version: str
    state: str
    reason: str
    task: str = ""
    device: str = ""
    pid: int | None = None
    memory_bytes: int = 0
    gpu_bytes: int = 0
    waiting: int = 0
    running: int = 0
    idle_s: float | None = None
    leaves_s: float | None = None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document (its place among those given) and its score."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Label:
    """A label and its score."""

    label: str
    score: float


def answer_of(response: Any) -> Answer:
    """The answer in a message."""
    timings = response.timings
    return Answer(
        response.request_id,
        response.model,
        response.version,
        tuple("" if (found := content_of(part)) is None else found for part in response.outputs),
        Timings(timings.queue_ms, timings.load_ms, timings.inference_ms, timings.total_ms),
        parameters_of(response.settings),
    )


def job_status_of(job: Any) -> JobStatus:
    """How a job stands, in a message."""
    optional = ("position", "estimate_ms", "step", "steps", "ended_at", "held_until")
    return JobStatus(
        job.request_id,
        job.model,
        job.version,
        job.state,
        job.submitted_at,
        error=told_of(job.error, job.request_id) if job.HasField("error") else None,
        **{name: getattr(job, name) for name in optional if job.HasField(name)},
    )


def model_of(told: Any) -> Model:
    """A model in a message."""
    return Model(
        told.name,
        told.version,
        told.task,
        told.source,
        told.engine,
        told.active,
        told.declared,
        told.state,
        told.reason,
        told.max_inputs if told.HasField("max_inputs") else None,
        told.etag,
        json.loads(told.details or "{}"),
        json.loads(told.facts or "{}"),
    )


def standing_of(told: Any) -> Standing:
    """How a model is on a node, in a message."""
    unset = ("pid", "idle_s", "leaves_s")
    fields = (each.name for each in told.DESCRIPTOR.fields)
    return Standing(
        **{name: getattr(told, name) for name in fields if name not in unset or told.HasField(name)}
    )
