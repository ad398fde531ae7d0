"""Partitions between a broker, a reader and some work that say what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException

from modelmora.agents.partitions.beginning import Oddity
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.lease import Lease
from modelmora.agents.partitions.takeover import Partitions
from modelmora.kafka.batches import Partition
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.topics import lane_topics
from modelmora.messages import InferenceResult, Source, Status
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeReader, FakeRecord
from modelmora.wire import encode_result

TOPIC = "modelmora.requests.normal"
SOON = "modelmora.retry.30s"
LANE: Partition = (TOPIC, 0)
OTHER: Partition = (TOPIC, 1)
SINCE_MS = 50_000


@dataclass
class Message:
    content: bytes
    told: Sequence[tuple[str, bytes | None]] = ()
    ms: int = SINCE_MS + 1

    def value(self) -> bytes:
        return self.content

    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        return self.told

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_LOG_APPEND_TIME, self.ms


@dataclass
class FakeStanding:
    """A broker whose every answer is given by the test."""

    commits: dict[Partition, tuple[int, str]] = field(default_factory=dict)
    ends: dict[Partition, tuple[int, int]] = field(default_factory=dict)
    written: dict[Partition, int] = field(default_factory=dict)
    outcomes: list[bytes] = field(default_factory=list)
    put_off: list[Any] = field(default_factory=list)
    headers: dict[bytes, Sequence[tuple[str, bytes | None]]] = field(default_factory=dict)
    asked_since: list[int] = field(default_factory=list)
    failures: int = 0
    renewed: int = 0
    log: str = "log-1"
    group: str = "modelmora.nodes"

    def committed(
        self, partitions: Iterable[Partition], **_: object
    ) -> dict[Partition, tuple[int, str]]:
        if self.failures:
            self.failures -= 1
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return {p: self.commits[p] for p in partitions if p in self.commits}

    def members(self, group: str) -> Any:
        return SimpleNamespace(members=[])

    def bounds(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        return {p: self.ends.get(p, (0, 1000)) for p in partitions}

    def logs(self, topics: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(topics, self.log)

    def at(self, times: Mapping[Partition, int]) -> dict[Partition, int]:
        return {p: self.written[p] for p in times if p in self.written}

    def read(self, topic: str, since_ms: int, take: Callable[[Any], None]) -> None:
        if topic == SOON:
            for message in self.put_off:
                take(message)
            return
        self.asked_since.append(since_ms)
        for value in self.outcomes:
            take(Message(value, self.headers.get(value, ())))

    def renew(self) -> None:
        self.renewed += 1

    def close(self) -> None:
        """Nothing is open."""


class Desk:
    """Partitions between a broker, a reader and some work that are all made up."""

    def __init__(self, *, exactly_once: bool = False) -> None:
        self.due = self.paid = 0
        settings = Settings(bootstrap_servers="127.0.0.1:1")
        self.now_ms = 1_000_000.0
        self.forgotten: list[set[Partition]] = []
        self.odd: list[tuple[Oddity, Partition, Mapping[str, int]]] = []
        self.writing = asyncio.Event()
        self.writing.set()
        self.standing = FakeStanding()
        self.intake = Intake(settings.limits, lane_topics(settings))
        self.lease = Lease(10)
        self.reader = FakeReader()
        self.partitions = Partitions(
            self.intake,
            self.lease,
            cast("Standing", self.standing),
            "modelmora.results",
            self,
            on_batches=lambda _: None,
            on_due=self.on_due if exactly_once else None,
            on_odd=lambda *told: self.odd.append(told),
            tiers=[SOON],
        )
        self.partitions.reader = self.reader

    def on_due(self) -> None:
        self.due += 1

    def forget(self, partitions: set[Partition]) -> None:
        self.forgotten.append(set(partitions))

    async def written(self) -> None:
        await self.writing.wait()

    def since_ms(self) -> float:
        return self.now_ms

    async def own(self, *partitions: Partition, epoch: int = 1) -> None:
        before = len(self.reader.places)
        self.partitions.on_assigned(dict.fromkeys(partitions, epoch))
        async with asyncio.timeout(10):
            while {*partitions} - {p for each in self.reader.places[before:] for p in each}:
                self.take_commits()
                await asyncio.sleep(0.005)

    async def read(self, count: int) -> None:
        """Wait for so many orders to read; the group takes the commits that some wait for."""
        async with asyncio.timeout(10):
            while len(self.reader.places) < count:
                self.take_commits()
                await asyncio.sleep(0.005)

    def take_commits(self) -> None:
        """The group takes what was last asked for."""
        if self.reader.commits:
            self.partitions.on_committed(self.reader.commits[-1], 0.0, None)
        if self.due > self.paid:
            self.paid = self.due
            self.partitions.on_told(
                {
                    partition: ledger.commit(SINCE_MS, "g.n1")
                    for partition in self.intake.partitions()
                    if (ledger := self.intake.ledger(partition))
                }
            )

    async def renewed(self) -> None:
        """Wait until the partition is to be had anew, then have it."""
        async with asyncio.timeout(10):
            while not self.reader.renewed:  # noqa: ASYNC110 - a thread asks
                await asyncio.sleep(0.005)
        assert self.reader.renewed == [(LANE, 1)]
        assert not self.intake.partitions()
        await self.own(LANE, epoch=2)

    def place(self, partition: Partition = LANE) -> tuple[int, int]:
        return next(each[partition] for each in self.reader.places[::-1] if partition in each)


def outcome(offset: int, partition: Partition = LANE) -> bytes:
    return encode_result(
        InferenceResult("id", Status.COMPLETED, "echo", "1", Source(*partition, offset))
    )


def record(offset: int, epoch: int = 1) -> FakeRecord:
    return FakeRecord(*LANE, offset, epoch)
