"""What one node counts and measures, as Prometheus reads it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from modelmora.messages import ResultHead, Status
from modelmora.telemetry.health import HealthCollector, Verdict
from modelmora.telemetry.metrics import GEN_AI_S, TABLE, counter, family

Values = Iterable[tuple[tuple[str, ...], float]]
"""The values of one metric, each behind the values of its labels."""


@dataclass(slots=True)
class Tally:
    """A histogram of one model: cumulative only when it is read, so that counting is cheap."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(GEN_AI_S) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(GEN_AI_S, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds with cumulative counts, as Prometheus has them."""
        bounds = [*(str(bound) for bound in GEN_AI_S), "+Inf"]
        return list(zip(bounds, accumulate(map(float, self.counts)), strict=True))


class NodeMetrics(Collector):
    """What a node counts; a model's label is bounded by what is served.

    Outcomes are counted here and not in the client library's own types: their locks would cost
    an eighth of the node's time per request, and all of this happens on one thread.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._outcomes: Counter[tuple[str, ...]] = Counter()
        self._failures: Counter[tuple[str, ...]] = Counter()
        self._tallies: dict[str, defaultdict[str, Tally]] = {
            f"modelmora_{each}_duration_seconds": defaultdict(Tally)
            for each in ("request", "queue", "load", "inference")
        }
        self._request, self._queue, self._load, self._inference = self._tallies.values()
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

    def outcome(self, head: ResultHead, model: str) -> None:
        """A request has ended; `model` is "" unless it is served here."""
        timings = head.timings
        self._outcomes[model, head.status.value] += 1
        self._request[model].add(timings.total_ms / 1000)
        self._queue[model].add(timings.queue_ms / 1000)
        if timings.load_ms:
            self._load[model].add(timings.load_ms / 1000)
        if head.error:
            self._failures[model, str(head.error.code)] += 1
        if head.status is Status.COMPLETED:
            self._inference[model].add(timings.inference_ms / 1000)

    def collect(self) -> Iterator[Metric]:
        """The outcomes and times as Prometheus reads them, and what is read when it is asked."""
        yield family("modelmora_outcomes_total", self._outcomes.items())
        yield family("modelmora_failures_total", self._failures.items())
        for name, tallies in self._tallies.items():
            told = HistogramMetricFamily(name, TABLE[name].means, labels=TABLE[name].labels)
            for model, tally in tallies.items():
                told.add_metric((model,), tally.buckets(), tally.total)
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
