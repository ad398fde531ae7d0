"""A service whose clocks and children obey the test."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelmora.engines.catalog import entry_for
from modelmora.engines.entries import EngineEntry
from modelmora.scheduling import ModelSpec, Policy
from modelmora.serving import BrokerClock, Service
from modelmora.serving.shares import Shares
from modelmora.testing.fakes import (
    UNIX_MS,
    FakeOutcomes,
    FakeTime,
    FakeWorkers,
)
from modelmora.workers import ExitReason, ExitReport

CAP_S = 60
ECHO, SLEEP = ("echo", "1"), ("sleep", "1")


def model(task: str) -> tuple[ModelSpec, EngineEntry]:
    entry = entry_for(task, testing=True)
    assert entry is not None
    return ModelSpec(task, "1", task, entry.engine, "/m", 1, False, slots=entry.slots), entry


@dataclass
class Hall:
    """One service, with fakes around it."""

    outcomes: FakeOutcomes = field(default_factory=FakeOutcomes)
    workers: FakeWorkers = field(default_factory=FakeWorkers)
    time: FakeTime = field(default_factory=FakeTime)
    shares: Shares = field(default_factory=Shares)

    def __post_init__(self) -> None:
        self.clock = BrokerClock(self.time)
        self.clock.acknowledged(UNIX_MS, ("results", 0))
        self.service = Service(self.outcomes, self.clock, Policy(), 60_000, self.time, self.shares)
        self.workers.events = self.service.listener
        self.service.use(self.workers)
        self.service.serve([model("echo"), model("sleep")])

    @property
    def told(self) -> list[tuple[str, str, str]]:
        return self.outcomes.told

    def child(self) -> int:
        return list(self.workers.loads)[-1]

    def exited(self, reason: ExitReason, code: int = -9) -> None:
        report = ExitReport(reason, "gone", code, 100, 1000, 900)
        self.service.listener.on_exited(self.child(), report)
