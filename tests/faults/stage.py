"""Nodes on a broker, what was sent, which faults struck, and the verdict with its figures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from confluent_kafka import KafkaException

from modelmora.broker import EmbeddedBroker
from tests.checker import Evidence, Fault, Sampler, Told, Verdict, gather, judge, read_ids
from tests.faults.recording import Figures
from tests.foreign import LANES, Draft, draft
from tests.integration.test_nodes import Yard
from tests.nodes import NodeProcess

GROUP_REQUESTS = 16
MODELS = 2
KEYS = 16
NEAR_S = 20.0


class Stage(Yard):
    """A namespace of its own whose faults are noted, so that the checker can explain repeats."""

    def __init__(self, broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
        super().__init__(broker, namespace, folder)
        self._faults: list[Fault] = []
        self._healed: list[float] = []
        self._appended: list[float] = []

    def node(self, name: str = "n1", **settings: object) -> NodeProcess:
        """A node whose groups are of a known size."""
        return super().node(name, **{"LIMITS__GROUP_REQUESTS": GROUP_REQUESTS, **settings})

    def sampler(self) -> Sampler:
        """Watches commits and outcomes."""
        return Sampler(self.servers, self.group, self.namespace)

    def all_committed(self) -> bool:
        """Not where a broker that has just come back does not say."""
        try:
            return super().all_committed()
        except (KafkaException, TimeoutError):
            return False

    def struck(self, what: str, moves: int = 1) -> None:
        """Note a fault now: two groups of each model may be repeated, for each move of them."""
        name = f"{what} (number {len(self._faults) + 1})"
        self._faults.append(Fault(name, time.time(), 2 * GROUP_REQUESTS * MODELS * moves))

    def healed(self) -> None:
        """Note that the fault is over, as seen from outside."""
        self._healed.append(time.time())

    def conclude(
        self,
        figures: Figures,
        sampler: Sampler | None = None,
        told: tuple[Told, ...] = (),
        lanes: Sequence[str] = LANES,
    ) -> Verdict:
        """Judge what was sent to these lanes, and keep what was seen; fails on a violation."""
        evidence = gather(
            self.servers,
            self.group,
            self.namespace,
            read_ids(self.ids),
            samples=sampler.samples if sampler else (),
            faults=tuple(self._faults),
            told=told,
        )
        verdict = judge(self._within(evidence, lanes))
        figures.judged(verdict, len(self._faults))
        self._appended = sorted(each.appended for each in evidence.outcomes)
        for at in self._healed:
            figures.recovered(next(each for each in self._appended if each > at) - at)
        assert verdict.violations == ()
        return verdict

    def _within(self, evidence: Evidence, lanes: Sequence[str]) -> Evidence:
        topics = {f"{self.namespace}.requests.{lane}" for lane in lanes}
        return replace(
            evidence,
            expected=tuple(e for e in evidence.expected if e.topic in topics),
            requests=tuple(e for e in evidence.requests if e.place.topic in topics),
            outcomes=tuple(e for e in evidence.outcomes if e.source.topic in topics),
        )

    def silence(self, since: float, until: float) -> tuple[float, str]:
        """The longest time (s) without an outcome, behind `conclude`, and what struck around it."""
        times = [since, *(each for each in self._appended if since < each < until), until]
        longest, began = max((b - a, a) for a, b in pairwise(times))
        near = (e for e in self._faults if began - NEAR_S < e.at < began + longest)
        return longest, ", ".join(f"{e.what} at {e.at - began:+.1f} s" for e in near)


def pile(count: int, ms: float = 10.0) -> Iterator[Draft]:
    """Work for both models on all partitions."""
    for number in range(count):
        one = draft("sleep", [f"{number}"], {"ms": ms}) if number % 2 else draft("echo", ["x"])
        yield replace(one, key=b"%d" % (number % KEYS))
