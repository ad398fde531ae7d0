"""The table of topics: the one place that says which exist, how long they keep what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from modelmora.kafka.sizes import RECORD_BYTES
from modelmora.messages import Lane
from modelmora.settings import Settings

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
REQUEST_BYTES = RECORD_BYTES
DEAD_LETTER_BYTES = REQUEST_BYTES + 128 * 1024
EMBEDDED_PARTITIONS = 12
CLUSTER_PARTITIONS = 48


class Topic(StrEnum):
    """The topics of a namespace, by the name behind `<namespace>.`."""

    CRITICAL = "requests.critical"
    HIGH = "requests.high"
    NORMAL = "requests.normal"
    LOW = "requests.low"
    RETRY_SOON = "retry.30s"
    RETRY_LATER = "retry.5m"
    SHADOW = "shadow"
    RESULTS = "results"
    RESULTS_JSON = "results.json"
    COMPARE = "compare"
    PROGRESS = "progress"
    JOBS = "jobs"
    BATCHES = "batches"
    DEAD_LETTERS = "dead-letters"
    EVENTS = "events"
    METRICS = "metrics"
    REGISTRY = "registry"
    CONTROL = "control"
    AUDIT = "audit"
    BUDGETS = "budgets"

    def full(self, namespace: str) -> str:
        """The topic's name on the broker."""
        return f"{namespace}.{self.value}"


LANE_TOPICS = {
    Lane.CRITICAL: Topic.CRITICAL,
    Lane.HIGH: Topic.HIGH,
    Lane.NORMAL: Topic.NORMAL,
    Lane.LOW: Topic.LOW,
}
TIERS = {Topic.RETRY_SOON: 30_000, Topic.RETRY_LATER: 5 * MINUTE}
"""Where requests are put off to, and for how long (ms) from their append there, soonest first."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How one topic is made; `partitions` None means as many as the lanes have.

    `content` marks the topics that hold what callers sent or received (invariant I8).
    """

    key: str
    value: str
    retention_ms: int | None
    partitions: int | None = None
    content: bool = False
    config: Mapping[str, str] = field(default_factory=dict)

    def broker_config(self) -> dict[str, str]:
        """The topic's configuration in Kafka's own names.

        Every topic carries the broker's clock: a client's clock decides nothing here.
        """
        config = {"message.timestamp.type": "LogAppendTime", **self.config}
        if self.retention_ms is not None:
            config["retention.ms"] = str(self.retention_ms)
        return config


# The active segment is neither deleted nor compacted, so what changes often needs short segments.
_SHORT_SEGMENTS = {"segment.ms": str(10 * MINUTE)}
_REQUESTS = TopicSpec(
    "model name",
    "InferenceRequest",
    DAY,
    content=True,
    config={"max.message.bytes": str(REQUEST_BYTES)},
)
TABLE: Mapping[Topic, TopicSpec] = {
    Topic.CRITICAL: _REQUESTS,
    Topic.HIGH: _REQUESTS,
    Topic.NORMAL: _REQUESTS,
    Topic.LOW: _REQUESTS,
    Topic.RETRY_SOON: _REQUESTS,
    Topic.RETRY_LATER: _REQUESTS,
    Topic.SHADOW: _REQUESTS,
    Topic.RESULTS: TopicSpec(
        "request id",
        "InferenceResult",
        HOUR,
        content=True,
        config={"max.message.bytes": str(REQUEST_BYTES), **_SHORT_SEGMENTS},
    ),
    Topic.RESULTS_JSON: TopicSpec(
        "request id",
        "InferenceResult as JSON",
        HOUR,
        content=True,
        config={"max.message.bytes": str(REQUEST_BYTES), **_SHORT_SEGMENTS},
    ),
    Topic.COMPARE: TopicSpec(
        "original request id",
        "InferenceResult",
        DAY,
        content=True,
        config={"max.message.bytes": str(REQUEST_BYTES)},
    ),
    Topic.PROGRESS: TopicSpec(
        "request id", "ProgressEvent", HOUR, content=True, config=_SHORT_SEGMENTS
    ),
    Topic.JOBS: TopicSpec("request id", "JobRecord", 7 * DAY),
    Topic.BATCHES: TopicSpec("file or batch id", "BatchRecord", 7 * DAY, 1, content=True),
    Topic.DEAD_LETTERS: TopicSpec(
        "original key",
        "original bytes",
        7 * DAY,
        content=True,
        config={"max.message.bytes": str(DEAD_LETTER_BYTES)},
    ),
    Topic.EVENTS: TopicSpec("model or node", "LifecycleEvent", 7 * DAY),
    Topic.METRICS: TopicSpec("node or gateway", "MetricSample", DAY, 1),
    Topic.REGISTRY: TopicSpec(
        "kind:name@version",
        "RegistryRecord",
        None,
        1,
        config={"cleanup.policy": "compact", **_SHORT_SEGMENTS},
    ),
    Topic.CONTROL: TopicSpec("target", "ControlCommand", HOUR, 1, config=_SHORT_SEGMENTS),
    Topic.AUDIT: TopicSpec("writer", "AuditEvent", 365 * DAY, 1),
    Topic.BUDGETS: TopicSpec(
        "bucket or writer",
        "BudgetRecord",
        DAY,
        1,
        config={"cleanup.policy": "compact,delete", **_SHORT_SEGMENTS},
    ),
}


def spec_of(topic: Topic, settings: Settings) -> TopicSpec:
    """How the topic is made with these settings."""
    if topic is Topic.AUDIT:
        return replace(TABLE[topic], retention_ms=settings.audit.kept_days * DAY)
    return TABLE[topic]


def lane_topics(settings: Settings) -> dict[str, Lane]:
    """Full topic names of the lanes."""
    return {topic.full(settings.namespace): lane for lane, topic in LANE_TOPICS.items()}


def tier_topics(settings: Settings) -> dict[str, int]:
    """Full names of the topics of what was put off, with their delays (ms)."""
    return {topic.full(settings.namespace): delay for topic, delay in TIERS.items()}


def read_topics(settings: Settings) -> dict[str, Lane]:
    """All that nodes read requests from; what is not on a lane yields like the lowest."""
    others = (*tier_topics(settings), Topic.SHADOW.full(settings.namespace))
    return lane_topics(settings) | dict.fromkeys(others, Lane.LOW)
