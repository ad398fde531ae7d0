"""A node of real parts: only the group, the broker, the producer and the children are made up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError

from modelmora.agents.handon import HandOn
from modelmora.agents.partitions.care import Care
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.lease import Lease
from modelmora.agents.partitions.takeover import Partitions
from modelmora.agents.requests import Requests
from modelmora.agents.results import Results
from modelmora.engines.catalog import entry_for
from modelmora.kafka.batches import Batch, Partition
from modelmora.kafka.leases import Leases
from modelmora.kafka.topics import lane_topics
from modelmora.kafka.writing.publisher import Publisher
from modelmora.node.node import Node as RealNode
from modelmora.scheduling import Group, ModelSpec, Placement, Policy
from modelmora.serving import BrokerClock, Record, Service
from modelmora.settings import Settings
from modelmora.wire import encode_outputs
from modelmora.workers import ExitReason, ExitReport, ItemResult
from tests.protocol.broker import POISON, RESULTS, SESSION_S, Broker, Standing, Stored
from tests.protocol.loop import Loop
from tests.protocol.member import Member

SETTINGS = Settings.model_validate(
    {
        "namespace": "ns",
        "bootstrap_servers": "127.0.0.1:1",
        "limits": {"partition_requests": 5},
    }
)
POLICY = Policy(group_requests=2, load_s=1e6, start_to_close_s=1e6, cancel_grace_s=1e6)
TIMEOUT_MS = 600_000
_PROCESSES = count(1)
OUTPUTS = encode_outputs(["done"])


def model(name: str) -> tuple[ModelSpec, Any]:
    """A model of the echo engine."""
    entry = entry_for("echo", testing=True)
    assert entry
    return ModelSpec(name, "1", "echo", entry.engine, "/m", 1, False), entry


MODELS = {name: model(name) for name in ("echo", "rare")}


class Killed(KeyboardInterrupt):
    """The node has ended, at once: nothing catches this."""


class Frail(Requests):
    """Requests, of which some end the node when they are decoded."""

    def _take(self, record: Record) -> None:
        if POISON.encode() in (record.value or b""):
            raise Killed(record.partition, record.offset)
        super()._take(record)


class Children:
    """Stands where the supervisor does: each child does its next step when it is told to."""

    def __init__(self) -> None:
        self.loading: list[int] = []
        self.groups: dict[int, list[Group]] = {}
        self.dying: list[int] = []

    def preload(self, _: object) -> None:
        """Nothing is imported."""

    def threads(self, *_: object) -> None:
        """Nothing is computed."""

    cancel = threads

    def load(self, replica: int, spec: ModelSpec, place: Placement) -> None:
        """A child more."""
        self.loading.append(replica)
        self.groups[replica] = []

    def run(self, group: Group) -> None:
        """Work for a child."""
        self.groups[group.replica].append(group)

    def kill(self, replica: int, reason: str) -> None:
        """A child is to go."""
        self.dying.append(replica)


@dataclass(slots=True, eq=False)
class Handed:
    """A record in the producer: what it is, and where it lies once the broker has it."""

    topic: str
    value: bytes | None
    partition: int
    headers: Sequence[tuple[str, bytes | None]]
    report: Callable[..., None]
    since: float
    stored: Stored | None = None


@dataclass
class Wire:
    """Stands where `modelmora.kafka.writing.producing.Client` does."""

    now: Callable[[], float]
    handed: list[Handed] = field(default_factory=list)

    def produce(
        self, topic: str, value: Any, _: Any, partition: int, report: Any, headers: Any
    ) -> None:
        """Take a record."""
        at = self.now()
        self.handed.append(Handed(topic, value, partition, tuple(headers or ()), report, at))

    def check(self) -> None:
        """It is there."""

    end = take_back = check


class Node:
    """One incarnation of a node."""

    def __init__(
        self,
        name: str,
        now: Callable[[], float],
        broker: Broker,
        served: Sequence[str],
        living: Callable[[], list[Any]],
        looked: Callable[[Node, Partition], None],
    ) -> None:
        self.name, self.now, self.broker = name, now, broker
        self.loop = Loop(now)
        self.feed: deque[list[Batch]] = deque()
        self.frozen = False
        self.known: dict[Partition, set[int]] = {}
        self.wire = Wire(now)
        self.children = Children()
        self._make(living)
        self.loop.run(partial(self._start, served, partial(looked, self)))

    def _make(self, living: Callable[[], list[Any]]) -> None:
        now = self.now
        self.clock = BrokerClock(now)
        self.clock.acknowledged(self.broker.ms, (RESULTS, 0))
        self.intake = Intake(SETTINGS.limits, lane_topics(SETTINGS))
        self.lease = Lease(SESSION_S, now)
        self.publisher = Publisher(
            SETTINGS, timeout_s=self.lease.write_s, may_publish=self.lease.holds
        )
        nobody = cast("Any", SimpleNamespace(send=lambda _: None, event=lambda *_, **__: None))
        parts = (self.publisher, nobody, self.intake, self.clock, nobody)
        self.results = Results(*parts, namespace="ns")
        self.service = Service(self.results, self.clock, POLICY, TIMEOUT_MS, now)
        self.service.use(cast("Any", self.children))
        leases = cast("Leases", SimpleNamespace(living=living, lapsed=list))
        self.service.elsewhere = HandOn(leases, self.intake, self.results, self.name)
        given = (self.intake, self.service, self.results, self.clock)
        # Two that are started under one name are two processes.
        self.care = Care(self.intake, bytes((next(_PROCESSES) % 256, 0, 0, 0)), now)
        self.requests = Frail(SETTINGS, *given, care=self.care)

    def _start(self, served: Sequence[str], looked: Callable[[Partition], None]) -> None:
        standing = cast("Any", Standing(self.broker, looked))
        # What the partitions ask of the node is the real one's.
        work = cast("Any", SimpleNamespace())
        for name in ("forget", "written", "since_ms"):
            setattr(work, name, partial(getattr(RealNode, name), self))
        self.partitions = Partitions(
            *(self.intake, self.lease, standing, RESULTS, work),
            on_batches=lambda _: None,
            care=self.care,
        )
        self.member = Member(self, self.broker)
        self.partitions.reader = self.member
        self.requests.reader = self.member
        self.publisher._loop = cast("asyncio.AbstractEventLoop", self.loop)
        self.publisher._use(cast("Any", self.wire))
        self.service.serve([MODELS[each] for each in served])

    def call(self, what: Callable[..., object], *arguments: object) -> None:
        """On the loop, with all that follows."""
        self.loop.run(partial(what, *arguments))

    def task(self, what: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """A task that has begun."""
        begun: list[asyncio.Task[Any]] = []
        self.call(lambda: begun.append(self.loop.create_task(what())))
        return begun[0]

    # What may happen to it -----------------------------------------------------------------------

    def take(self) -> bool:
        """The agent gets what one fetch has brought."""
        if not self.feed:
            return False
        for batch in self.feed.popleft():
            self.task(partial(self.requests.on_batch, batch))
        return True

    def work(self, *, dies: bool = False) -> bool:
        """A child gets one step further, or dies; False: there is nothing to do."""
        children, listener = self.children, self.service.listener
        busy = [each for each, groups in children.groups.items() if groups]
        for replica in (*children.dying, *children.loading, *busy)[:1]:
            if dies or replica in children.dying:
                self._exit(replica)
            elif replica in children.loading:
                children.loading.remove(replica)
                self.call(listener.on_loaded, replica, {}, 5.0)
            else:
                group = children.groups[replica].pop(0)
                done = [ItemResult(n, OUTPUTS, None, 1.0, {}) for n in range(len(group.works))]
                self.call(listener.on_started, replica, group.id)
                self.call(listener.on_results, replica, group.id, done)
                self.call(listener.on_group_done, replica, group.id, 1.0)
            return True
        return False

    def _exit(self, replica: int) -> None:
        children = self.children
        reason = ExitReason.KILLED if replica in children.dying else ExitReason.CRASHED
        children.groups.pop(replica)
        for each in (children.dying, children.loading):
            if replica in each:
                each.remove(replica)
        self.call(self.service.listener.on_exited, replica, ExitReport(reason, "gone", -9))

    def tell(self, handed: Handed, *, lost: bool = False) -> None:
        """The producer is told what became of a record."""
        self.wire.handed.remove(handed)
        stored = handed.stored
        error = KafkaError(KafkaError._MSG_TIMED_OUT) if lost or stored is None else None
        told = SimpleNamespace(
            timestamp=lambda: (TIMESTAMP_LOG_APPEND_TIME, stored.ms if stored else 0),
            partition=lambda: max(0, handed.partition),
            offset=lambda: stored.offset if stored else -1,
        )
        self.call(handed.report, error, told)
