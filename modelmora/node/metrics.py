"""What one node counts and measures, as Prometheus reads it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from modelmora.messages import ResultHead, Status
from modelmora.messages.traceparent import is_sampled, trace_id_of
from modelmora.telemetry.health import HealthCollector, Verdict
from modelmora.telemetry.metrics import TABLE, Kind, Part, counter, family
from modelmora.workers import Batches

Values = Iterable[tuple[tuple[str, ...], float]]
"""The values of one metric, each behind the values of its labels."""
TOKENS = (("input", "prompt_tokens"), ("output", "completion_tokens"))
"""The kinds of tokens, and the settings of a result that tell how many there were."""

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


@dataclass(slots=True)
class Tally:
    """A histogram of one model: cumulative only when it is read, so that counting is cheap."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    total: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)
    """The newest value of each bucket whose trace is recorded, and which trace that is."""

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float, trace: str = "") -> None:
        """Count one value; `trace` is the id of its trace, where that is recorded."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if trace:
            self.exemplars[bucket] = Exemplar({"trace_id": trace}, value, time.time())

    def merge(self, counts: Sequence[int], total: float) -> None:
        """Count values that were counted elsewhere, by the same bounds."""
        self.counts = [mine + more for mine, more in zip(self.counts, counts, strict=True)]
        self.total += total

    def buckets(self) -> list[Bucket]:
        """Upper bounds with cumulative counts, as Prometheus has them, and their exemplars."""
        bounds = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        found = zip(bounds, accumulate(map(float, self.counts)), strict=True)
        exemplars = self.exemplars
        return [
            (*each, exemplars[number]) if number in exemplars else each
            for number, each in enumerate(found)
        ]


class NodeMetrics(Collector):
    """What a node counts; a model's label is bounded by what is served.

    Outcomes are counted here and not in the client library's own types: their locks would cost
    an eighth of the node's time per request, and all of this happens on one thread.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._outcomes: Counter[tuple[str, ...]] = Counter()
        self._failures: Counter[tuple[str, ...]] = Counter()
        self._tallies: dict[str, defaultdict[tuple[str, ...], Tally]] = {
            name: defaultdict(partial(Tally, each.buckets))
            for name, each in TABLE.items()
            if each.part is Part.NODE and each.kind is Kind.HISTOGRAM
        }
        self._request, self._queue, self._load, self._inference = (
            self._tallies[f"modelmora_{each}_duration_seconds"]
            for each in ("request", "queue", "load", "inference")
        )
        self._usage = self._tallies["modelmora_token_usage"]
        self._rows = self._tallies["modelmora_batch_rows"]
        self._padded: Counter[tuple[str, ...]] = Counter()
        self._padding: Counter[tuple[str, ...]] = Counter()
        self._read: dict[str, Callable[[], Values]] = {}
        self._odd = counter("modelmora_odd_commits_total", self.registry)
        self._unread = counter("modelmora_records_deleted_unread_total", self.registry)
        self._no_reply = counter("modelmora_replies_not_written_total", self.registry)
        self._copies = counter("modelmora_copies_total", self.registry)
        self.registry.register(self)

    def odd(self, what: str, unread: int) -> None:
        """A commit did not fit the log; so many offsets were deleted before anybody read them."""
        self._odd.labels(what).inc()
        self._unread.inc(unread)

    def no_reply(self, why: str) -> None:
        """An outcome was not written to its reply topic."""
        self._no_reply.labels(why).inc()

    def copied(self, how: str) -> None:
        """A copy of a request has ended: it was no request of anybody's."""
        self._copies.labels(how).inc()

    @property
    def ended(self) -> int:
        """How many requests have ended."""
        return self._outcomes.total()

    def outcome(self, head: ResultHead, model: str, traceparent: str = "") -> None:
        """A request has ended; `model` is "" unless it is served here."""
        timings, one = head.timings, (model,)
        trace = trace_id_of(traceparent) if is_sampled(traceparent) else ""
        self._outcomes[model, head.status.value] += 1
        self._request[one].add(timings.total_ms / 1000, trace)
        self._queue[one].add(timings.queue_ms / 1000, trace)
        if timings.load_ms:
            self._load[one].add(timings.load_ms / 1000, trace)
        if head.error:
            self._failures[model, str(head.error.code)] += 1
        if head.status is Status.COMPLETED:
            self._inference[one].add(timings.inference_ms / 1000, trace)
            for kind, count in tokens_of(head):
                self._usage[model, kind].add(count)

    def batched(self, model: str, batches: Batches) -> None:
        """So were batches that a child has computed, whoever has asked for them."""
        self._rows[model,].merge(batches.counts, batches.rows)
        if batches.padded:
            self._padded[model,] += batches.padded
            self._padding[model,] += batches.padded - batches.cost

    def collect(self) -> Iterator[Metric]:
        """The outcomes and times as Prometheus reads them, and what is read when it is asked."""
        yield family("modelmora_outcomes_total", self._outcomes.items())
        yield family("modelmora_failures_total", self._failures.items())
        yield family("modelmora_batch_tokens_total", self._padded.items())
        yield family("modelmora_batch_padding_tokens_total", self._padding.items())
        for name, tallies in self._tallies.items():
            told = HistogramMetricFamily(name, TABLE[name].means, labels=TABLE[name].labels)
            for labels, tally in tallies.items():
                told.add_metric(labels, tally.buckets(), tally.total)
            yield told
        for name, values in self._read.items():
            yield family(name, values())

    def describe(self) -> Iterator[Metric]:
        """Nothing: what is read may not be there yet."""
        return iter(())

    def judged(self, look: Callable[[], Verdict]) -> None:
        """Tell how the node is."""
        self.registry.register(HealthCollector(look))

    def read(self, name: str, value: Callable[[], float]) -> None:
        """A value that is read when it is asked for."""
        self._read[name] = lambda: (((), value()),)

    def read_all(self, name: str, values: Callable[[], Values]) -> None:
        """Values with labels that are read when they are asked for."""
        self._read[name] = values


def tokens_of(head: ResultHead) -> Iterator[tuple[str, int]]:
    """How many tokens of each kind a result tells, where there were any."""
    for kind, setting in TOKENS:
        # A child says it, and it may say anything.
        count = head.settings.get(setting)
        if type(count) is int and count > 0:
            yield kind, count
