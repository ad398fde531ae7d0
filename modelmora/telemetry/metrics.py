"""Every metric of nodes and gateways, from which both make theirs and the reference is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from modelmora.messages import BATCH_ROWS

GEN_AI_S = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""Bounds of buckets in seconds, as OpenTelemetry's conventions for generative AI have them."""
DOOR_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""The same for a gateway, whose answers may be a millisecond away."""
GEN_AI_TOKENS = tuple(4**power for power in range(14))
"""Bounds of buckets in tokens, as the same conventions have them."""


class Kind(StrEnum):
    """How Prometheus takes it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Part(StrEnum):
    """Which process has it."""

    NODE = "node"
    GATEWAY = "gateway"
    BOTH = "node, gateway"


@dataclass(frozen=True, slots=True)
class Told:
    """One metric. `means` is its help; each label has few values, or those of served models."""

    name: str
    kind: Kind
    part: Part
    means: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _node(
    name: str, kind: Kind, means: str, *labels: str, buckets: tuple[float, ...] = GEN_AI_S
) -> Told:
    bounds = buckets if kind is Kind.HISTOGRAM else ()
    return Told(f"modelmora_{name}", kind, Part.NODE, means, labels, bounds)


def _door(name: str, kind: Kind, means: str, *labels: str) -> Told:
    buckets = DOOR_S if kind is Kind.HISTOGRAM else ()
    return Told(f"modelmora_gateway_{name}", kind, Part.GATEWAY, means, labels, buckets)


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
ALL = (
    Told("modelmora_healthy", _G, Part.BOTH,
         "1 while it is well, 0 while not; `degraded` where requests are served all the same.",
         ("check",)),
    Told("modelmora_age_seconds", _G, Part.BOTH,
         "For how long what is owed was owed, or since when nothing was heard.", ("of",)),
    _node("outcomes_total", _C, "Requests ended, by how.", "model", "status"),
    _node("failures_total", _C, "Requests that ended with an error, by its code.", "model", "code"),
    _node("request_duration_seconds", _H, "From the request's append to its outcome.", "model"),
    _node("queue_duration_seconds", _H, "Of these, waiting for a turn.", "model"),
    _node("load_duration_seconds", _H, "Of these, waiting for the model to be loaded.", "model"),
    _node("inference_duration_seconds", _H,
          "Time a completed request's batches ran in its worker.", "model"),
    _node("token_usage", _H,
          "Tokens of a completed request: `input` that were read, `output` that were made.",
          "model", "token_type", buckets=GEN_AI_TOKENS),
    _node("batch_rows", _H,
          "Rows of a batch, such as texts; of what computes step by step, requests in a step.",
          "model", buckets=BATCH_ROWS),
    _node("batch_tokens_total", _C, "Tokens of batches of texts, padding included.", "model"),
    _node("batch_padding_tokens_total", _C, "Of these, padding to the longest text.", "model"),
    _node("consumer_lag", _G,
          "Records behind what the group has committed, of this node's partitions.", "topic"),
    _node("unowned_lag", _G,
          "The same of partitions that no node has: each node tells all of it.", "topic"),
    _node("open_requests", _G, "Requests read and not answered, those of copies left out."),
    _node("oldest_request_seconds", _G,
          "How long ago the oldest request that is read and not answered was appended.", "lane"),
    _node("open_bytes", _G, "Bytes of what is read and not answered."),
    _node("gated_partitions", _G, "Partitions that are not read for now, since they are full."),
    _node("model_waiting", _G, "Requests that wait for a model.", "model", "version"),
    _node("model_running", _G, "Requests that a model computes.", "model", "version"),
    _node("model_memory_bytes", _G, "Memory that a model's processes hold, by device.",
          "model", "version", "device"),
    _node("models", _G, "Models that are served, by where they stand.", "state"),
    _node("memory_budget_bytes", _G, "What models may hold, by device.", "device"),
    _node("memory_held_bytes", _G, "What models hold, by device.", "device"),
    _node("events_total", _C, "What was told on `events`, such as loads and crashes.", "type"),
    _node("dead_letters_total", _C, "Records that were put on `dead-letters`."),
    _node("retries_total", _C, "Requests put off after a failure that may pass."),
    _node("overflows_total", _C, "Requests put off since too many waited in their line."),
    _node("over_budget_total", _C, "Requests put off over a budget."),
    _node("handed_on_total", _C, "Requests handed on to other nodes."),
    _node("late_results_total", _C, "Results computed for requests that had ended."),
    _node("unacknowledged", _G, "Outcomes that the broker has not acknowledged."),
    _node("untold", _G, "Progress and events that the broker has not acknowledged."),
    _node("workers", _G, "Child processes that have models."),
    _node("fresh_starts_total", _C, "Child processes that were started and not forked."),
    _node("zygote_starts_total", _C, "Starts of the process that children are forked from."),
    _node("loop_stall_seconds", _G, "Longest wait for the loop of the last minute or two."),
    _node("odd_commits_total", _C, "Commits that did not fit the log.", "what"),
    _node("records_deleted_unread_total", _C, "Offsets that retention passed before us."),
    _node("replies_not_written_total", _C,
          "Outcomes that stand on results, but not on the reply topic asked for.", "why"),
    _node("copies_total", _C, "Copies of requests, by what became of them.", "how"),
    _door("requests_total", _C, "Requests answered, by door and code (`completed` or an error's).",
          "door", "code"),
    _door("request_seconds", _H, "From the door to the answer.", "door"),
    _door("accepted_seconds", _H, "From produce to the node's `accepted`."),
    _door("waiting", _G, "Requests waiting for an outcome."),
    _door("held_bytes", _G, "Bytes of content being read or not yet acknowledged."),
    _door("probe_age_seconds", _G,
          "Since a probe of a lane was last answered, late, or held back on purpose.",
          "lane", "result"),
    _door("probe_seconds", _G, "From a probe's sending to its answer, of the last one.", "lane"),
    _door("broker_up", _G, "1 while the broker answers and acknowledges."),
)  # fmt: skip
TABLE: Mapping[str, Told] = {each.name: each for each in ALL}


def counter(name: str, registry: CollectorRegistry) -> Counter:
    """The counter of that name."""
    return Counter(name, TABLE[name].means, TABLE[name].labels, registry=registry)


def gauge(name: str, registry: CollectorRegistry) -> Gauge:
    """The gauge of that name."""
    return Gauge(name, TABLE[name].means, TABLE[name].labels, registry=registry)


def histogram(name: str, registry: CollectorRegistry) -> Histogram:
    """The histogram of that name."""
    told = TABLE[name]
    return Histogram(name, told.means, told.labels, buckets=told.buckets, registry=registry)


def family(name: str, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """A counter or gauge with these values, each behind the values of its labels."""
    told = TABLE[name]
    kind = CounterMetricFamily if told.kind is Kind.COUNTER else GaugeMetricFamily
    found = kind(name, told.means, labels=told.labels)
    for labels, value in values:
        found.add_metric(labels, value)
    return found
