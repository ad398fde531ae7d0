"""What ModelMora tells about a request under way and about models and nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelmora.messages.content import Parameter


class ProgressStage(StrEnum):
    """How far a request has come."""

    ACCEPTED = "ACCEPTED"
    STARTED = "STARTED"
    CHUNK = "CHUNK"


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """A request's way; `position` is the number of requests ahead, `estimate_ms` until start.

    While it waits these are told again as the line moves; `loading`: its model is being loaded.
    `chunk` is UTF-8 text that follows the chunk before it; number (`sequence`) 0 begins anew.
    `step` is how many of its `steps` are done; of a text, without `steps`, how many tokens.
    """

    request_id: str
    stage: ProgressStage
    model: str
    position: int | None = None
    estimate_ms: float | None = None
    chunk: bytes | None = None
    attempt: int = 1
    sequence: int = 0
    step: int | None = None
    steps: int | None = None
    loading: bool = False


class EventKind(StrEnum):
    """What happened to a model or a node; the CloudEvents type is `modelmora.<value>`."""

    REGISTERED = "registered"
    VERSION_ADDED = "version_added"
    UNREGISTERED = "unregistered"
    LOADING = "loading"
    LOADED = "loaded"
    LOAD_FAILED = "load_failed"
    UNLOADED = "unloaded"
    CRASHED = "crashed"
    QUARANTINED = "quarantined"
    HEALTH_CHANGED = "health_changed"
    NODE_JOINED = "node_joined"
    NODE_LEFT = "node_left"
    ROUTE_CHANGED = "route_changed"
    ANSWERED = "answered"
    """A node has heard a command: what it made of it, and where the model stands."""
    ADMINISTERED = "administered"
    """A person is about to change what lies on the topics, or where they are read."""
    AUDITED = "audited"
    """How far the audit of a process has come: what is there is held against it."""
    CANARY_DECIDED = "canary_decided"
    """A version that takes over a name in steps has begun, goes on or has ended, and why."""


EXIT_FACTS = (
    "reason",
    "message",
    "exit_code",
    "private_bytes",
    "tree_before_bytes",
    "tree_after_bytes",
    "returned_share",
    "gpu_bytes",
    "gpu_kept_bytes",
    "replicas",
)


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """One change of a model or node; `time` in Unix ms, `facts` carry the measured proof."""

    id: str
    kind: EventKind
    node: str
    time: int
    model: str | None = None
    version: str | None = None
    facts: Mapping[str, Parameter] = field(default_factory=dict)


FACTS: Mapping[EventKind, tuple[str, ...]] = {
    EventKind.REGISTERED: ("task",),
    EventKind.VERSION_ADDED: ("task",),
    EventKind.UNREGISTERED: (),
    EventKind.LOADING: ("replica", "device", "cause", "ram_bytes", "gpu_bytes"),
    EventKind.LOADED: ("load_ms", "warm_up_ms", "private_bytes", "sandbox"),
    EventKind.LOAD_FAILED: ("code", "message", "retry_after_ms"),
    EventKind.UNLOADED: EXIT_FACTS,
    EventKind.CRASHED: EXIT_FACTS,
    EventKind.QUARANTINED: ("code", "message", "retry_after_ms"),
    EventKind.HEALTH_CHANGED: (
        "was",
        "state",
        "what",
        "topic",
        "partition",
        "position_offset",
        "first_offset",
        "end_offset",
        "begin_offset",
        "unread_offsets",
    ),
    EventKind.ANSWERED: ("verb", "command_offset", "nodes", "state", "message"),
    EventKind.ADMINISTERED: ("verb", "principal", "message", "letters", "partitions"),
    EventKind.AUDITED: (
        "writer",
        "sequence",
        "digest",
        "public_key",
        "signature",
        "partition",
        "position_offset",
    ),
    EventKind.NODE_JOINED: ("cores",),
    EventKind.NODE_LEFT: (
        "reason",
        "answered",
        "unanswered",
        "warm_up_ms",
        "drain_ms",
        "stop_ms",
    ),
    EventKind.ROUTE_CHANGED: ("former", "route", "former_route", "since_ms"),
    EventKind.CANARY_DECIDED: (
        "canary",
        "baseline",
        "state",
        "step_share",
        "message",
        "candidate_requests",
        "candidate_failed_share",
        "candidate_p50_ms",
        "candidate_p95_ms",
        "baseline_requests",
        "baseline_failed_share",
        "baseline_p50_ms",
        "baseline_p95_ms",
        "worse_least_share",
        "pairs",
        "agreement_share",
    ),
}
"""The facts of each kind that is written; a measure ends with its unit, a share is 0 to 1."""
