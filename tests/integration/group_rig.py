"""Members of one group in one process, each with an owner that notes what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from modelmora.kafka.batches import Batch, Commits, Partition, Record
from modelmora.kafka.group import Member
from modelmora.kafka.reading.unreadable import Unreadable
from modelmora.settings import Settings
from tests.programs import eventually

CAP_S = 60.0


async def until(seen: Callable[[], bool], what: str) -> None:
    """Wait until it is seen, with a generous cap."""
    end = asyncio.get_running_loop().time() + CAP_S
    while not seen():
        assert asyncio.get_running_loop().time() < end, f"not within {CAP_S:.0f} s: {what}"
        await asyncio.sleep(0.02)


class NotingOwner:
    """Reads every partition from where the group's owners have come together."""

    def __init__(self, settings: Settings, name: str, topics: list[str], rig: Rig) -> None:
        self.epochs: dict[Partition, int] = {}
        self.told: list[tuple[str, Any]] = []
        self.records: list[Record] = []
        self.unreadable: list[Unreadable] = []
        self.commits: list[tuple[Commits, str | None]] = []
        self._rig = rig
        self.member = Member(settings, name, topics, self)
        self.member.start()

    def on_assigned(self, epochs: Mapping[Partition, int]) -> None:
        self.epochs |= epochs
        if epochs:
            self.told.append(("assigned", set(epochs)))
        self.read(epochs)

    def read(self, partitions: Mapping[Partition, int]) -> None:
        places = self._rig.places
        self.member.read({p: (epoch, places.get(p, 0)) for p, epoch in partitions.items()})

    async def on_revoked(self, partitions: set[Partition]) -> Commits:
        self._forget("revoked", partitions)
        return {p: (self._rig.places.get(p, 0), "left") for p in partitions}

    def on_lost(self, partitions: set[Partition]) -> None:
        self._forget("lost", partitions)

    def _forget(self, how: str, partitions: set[Partition]) -> None:
        self.told.append((how, partitions))
        for partition in partitions:
            del self.epochs[partition]

    def on_batches(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            assert batch.epoch == self.epochs[batch.partition]
            for each in batch.records:
                if isinstance(each, Record):
                    self.records.append(each)
                else:
                    self.unreadable.append(each)
            self._rig.places[batch.partition] = batch.records[-1].offset + 1
        self.member.taken()

    def on_stuck(self, partition: Partition, epoch: int, offset: int, reason: str) -> None:
        self.told.append(("stuck", partition))

    def on_committed(self, commits: Commits, asked_at: float, error: str | None) -> None:
        self.commits.append((commits, error))

    def on_failed(self, reason: str) -> None:
        self.told.append(("failed", reason))


class Rig:
    """Topics, a producer, and the members that were started."""

    def __init__(self, servers: str, namespace: str, **kafka: Any) -> None:
        self.settings = Settings(
            namespace=namespace,
            bootstrap_servers=servers,
            kafka=kafka,
            timing={"session_timeout_s": 6},
        )
        self.lanes = [f"{namespace}.requests.{lane}" for lane in ("critical", "high", "normal")]
        self.admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        self.producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        self.places: dict[Partition, int] = {}
        self.owners: list[NotingOwner] = []

    def create(self, partitions: int, topics: Sequence[str] = ()) -> None:
        new = [NewTopic(topic, partitions, 1) for topic in topics or self.lanes]
        for future in self.admin.create_topics(new).values():
            future.result(30)

    def delete(self, topic: str) -> None:
        for future in self.admin.delete_topics([topic]).values():
            future.result(30)

    def widen(self, topic: str, partitions: int) -> None:
        for future in self.admin.create_partitions([NewPartitions(topic, partitions)]).values():
            future.result(30)
        # Else a producer may learn the old number now, and keep to it for minutes.
        known = partial(self.admin.list_topics, topic, timeout=30)
        eventually(lambda: len(known().topics[topic].partitions) == partitions, "them known")

    def send(self, partition: Partition, value: bytes, **more: Any) -> None:
        errors: list[Any] = []
        self.producer.produce(
            partition[0], value, partition=partition[1],
            on_delivery=lambda error, _: errors.append(error), **more,
        )  # fmt: skip
        assert self.producer.flush(30) == 0
        assert errors == [None]

    def join(self, name: str) -> NotingOwner:
        owner = NotingOwner(self.settings, name, self.lanes, self)
        self.owners.append(owner)
        return owner

    async def leave(self, owner: NotingOwner) -> None:
        self.owners.remove(owner)
        await owner.member.stop()

    async def shared(self, partitions: int) -> None:
        """Wait until every partition has exactly one owner."""

        def is_shared() -> bool:
            owned = [each for owner in self.owners for each in owner.epochs]
            return len(owned) == len(set(owned)) == partitions * len(self.lanes)

        await until(is_shared, f"{partitions} partitions of each lane owned once")

    async def read(self, value: bytes) -> Record:
        """Wait until one of the owners has read it."""

        def found() -> list[Record]:
            return [r for owner in self.owners for r in owner.records if r.value == value]

        await until(lambda: bool(found()), f"{value!r} read")
        return found()[0]

    async def close(self) -> None:
        await asyncio.gather(*(owner.member.stop() for owner in self.owners))
