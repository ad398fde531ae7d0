"""What a member of the group commits, with a consumer that says what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, Queue
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from modelmora.kafka import group
from modelmora.kafka.batches import Batch, Commits, Partition
from modelmora.settings import Settings

A: Partition = ("lane", 0)
B: Partition = ("lane", 1)
CAP_S = 60.0


class ScriptedConsumer:
    """Stands where librdkafka's does; each `consume` does what comes next in the script."""

    def __init__(self, *_: object, **__: object) -> None:
        self.script: Queue[Callable[[], None]] = Queue()
        self.commits: list[dict[Partition, str]] = []

    def subscribe(
        self, _: object, **callbacks: Callable[[Any, list[TopicPartition]], None]
    ) -> None:
        self.on_assign, self.on_revoke = callbacks["on_assign"], callbacks["on_revoke"]

    def assign(self, _: object) -> None: ...

    incremental_assign = pause = resume = assign

    def memberid(self) -> str:
        return "id"

    def consume(self, _: int, timeout_s: float) -> list[Any]:
        with suppress(Empty):
            self.script.get(timeout=timeout_s or 0.001)()
        return []

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        self.commits.append({(each.topic, each.partition): each.metadata for each in offsets})

    def close(self) -> None: ...


class NotingOwner:
    def __init__(self) -> None:
        self.assigned, self.heard = asyncio.Event(), asyncio.Event()
        self.error: str | None = None

    def on_assigned(self, epochs: Mapping[Partition, int]) -> None:
        self.assigned.set()

    async def on_revoked(self, partitions: set[Partition]) -> Commits:
        return dict.fromkeys(partitions, (7, "left"))

    def on_lost(self, partitions: set[Partition]) -> None: ...

    def on_batches(self, batches: Sequence[Batch]) -> None: ...

    def on_stuck(self, partition: Partition, epoch: int, offset: int, reason: str) -> None: ...

    def on_failed(self, reason: str) -> None:
        raise AssertionError(reason)

    def on_committed(self, commits: Commits, asked_at: float, error: str | None) -> None:
        self.error = error
        self.heard.set()


@pytest.mark.parametrize("stays", [True, False])
async def test_a_commit_that_comes_behind_the_last_one_of_a_partition_leaves_that_alone(
    monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    """It was asked for while the group already took the partition away, and knows less."""
    consumer, owner = ScriptedConsumer(), NotingOwner()
    monkeypatch.setattr(group, "Consumer", lambda *_, **__: consumer)
    member = group.Member(Settings(bootstrap_servers="127.0.0.1:1"), "n1", ["lane"], owner)
    held = [A, B] if stays else [A]
    consumer.script.put(
        lambda: consumer.on_assign(consumer, [TopicPartition(*each) for each in held])
    )

    def ask_and_revoke() -> None:
        member.commit(dict.fromkeys(held, (5, "as it was")))
        consumer.on_revoke(consumer, [TopicPartition(*A)])

    member.start()
    try:
        async with asyncio.timeout(CAP_S):
            await owner.assigned.wait()
            consumer.script.put(ask_and_revoke)
            count = 1 + stays
            while len(consumer.commits) < count or member.committing is not stays:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert consumer.commits == [{A: "left"}, {B: "as it was"}][: 1 + stays]
        assert owner.heard.is_set() is not stays
    finally:
        await member.stop()
