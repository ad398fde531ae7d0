"""The consumer: what is fetched is handed over or read again, whatever happens in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition
from faust.types import TP

from modelmora.agents.app import Consumer, build_app
from modelmora.agents.intake import Batch, Intake
from modelmora.kafka.unreadable import Unreadable
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeRecord

P, Q = TP("lane", 0), TP("lane", 1)


async def nothing(*_: object) -> None:
    """A hook."""


class Broker:
    """The two partitions as aiokafka would hand them out, in the place of its thread."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.log = {P: 10, Q: 0}
        self.at = {P: 0, Q: 0}
        self.at_most = 4
        self.asked: list[set[TP]] = []
        self.on_fetch: Callable[[], None] = lambda: None
        self.commits: list[Mapping[TopicPartition, Any]] = []
        self.fault: KafkaError | None = None
        self.unreadable: set[int] = set()

    async def getmany(self, active: set[TP], _: float) -> dict[TP, list[FakeRecord]]:
        self.asked.append(set(active))
        self.on_fetch()
        found = {}
        for tp in sorted(active):
            end = min(self.log[tp], self.at[tp] + self.at_most)
            if found_bad := self.unreadable & set(range(self.at[tp], end)):
                self.at[tp] = max(found_bad) + 1  # whatever it has thrown away
                b"\xff".decode()
            if self.at[tp] < end:
                found[tp] = [FakeRecord("lane", tp.partition, o) for o in range(self.at[tp], end)]
                self.at[tp] = end
        return found

    async def call_thread(self, what: Callable[..., Any], *arguments: Any) -> Any:
        if self.fault:
            raise self.fault
        return await what(*arguments)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at[TP(*tp)] = offset

    async def commit(self, offsets: Mapping[TopicPartition, Any]) -> None:
        self.commits.append(offsets)


@pytest.fixture
async def consumer() -> AsyncIterator[Consumer]:
    settings = Settings(bootstrap_servers="127.0.0.1:1", namespace="ns", dynamic_member=True)
    intake = Intake(settings.limits)
    app = build_app(settings, intake, nothing, nothing, nothing)
    made = app.consumer
    broker = Broker(intake)
    made.broker = broker
    made._getmany = broker.getmany
    made._thread._consumer = broker
    made._thread.call_thread = broker.call_thread
    made.assignment = lambda: {P, Q}
    made._get_active_partitions = lambda: {P, Q}
    intake.assign({P: (0, ""), Q: (0, "")})
    yield made
    made._thread.thread_loop.close()


async def fetch(consumer: Consumer, *, take: bool = True) -> list[tuple[int, list[int]]]:
    """One round of Faust's fetcher; the agent takes what it gets."""
    found = []
    async for _, message in consumer.getmany(1.0):
        batch: Batch = message.value
        found.append((batch.after, [record.offset for record in batch.records]))
        if take:
            for record in batch.records:
                assert not isinstance(record, Unreadable)
                consumer.app.intake.begin(record)
    return found


async def test_batches_follow_each_other(consumer: Consumer) -> None:
    got = [batch for _ in range(4) for batch in await fetch(consumer)]
    assert got == [(0, [0, 1, 2, 3]), (4, [4, 5, 6, 7]), (8, [8, 9])]


async def test_an_assignment_begins_where_the_ledger_stands(consumer: Consumer) -> None:
    consumer.broker.at[P] = 7  # wherever the library thinks that it is
    consumer.app.intake.assign({P: (3, ""), Q: (0, "")})
    assert await fetch(consumer) == [(3, [3, 4, 5, 6])]


async def test_nothing_is_fetched_between_two_assignments(consumer: Consumer) -> None:
    consumer.app.intake.close()
    assert await fetch(consumer) == []
    assert consumer.broker.asked == []


@pytest.mark.parametrize("again", [True, False])
async def test_a_fetch_that_an_assignment_overtook_is_read_again(
    consumer: Consumer, again: bool
) -> None:
    intake, broker = consumer.app.intake, consumer.broker

    def rebalance() -> None:
        broker.on_fetch = lambda: None
        intake.close()
        if again:
            intake.assign({P: (0, ""), Q: (0, "")})

    broker.on_fetch = rebalance
    assert await fetch(consumer) == []
    if not again:
        intake.assign({P: (0, ""), Q: (0, "")})
    assert await fetch(consumer) == [(0, [0, 1, 2, 3])]


async def test_what_was_not_handed_over_is_read_again(consumer: Consumer) -> None:
    consumer.broker.log[Q] = 4
    async for _ in consumer.getmany(1.0):
        consumer.flow_active = False  # Faust stops the flow in the midst of it
    consumer.flow_active = True
    assert await fetch(consumer) == [(0, [0, 1, 2, 3]), (0, [0, 1, 2, 3])]


async def test_a_lost_event_is_read_again(consumer: Consumer) -> None:
    await fetch(consumer, take=False)
    ((after, _),) = await fetch(consumer, take=False)
    assert not consumer.app.intake.follows(P, after)
    assert await fetch(consumer) == [(0, [0, 1, 2, 3])]


async def test_a_full_partition_is_not_asked_for(consumer: Consumer) -> None:
    consumer.app.intake.gated.add(P)
    assert await fetch(consumer) == []
    assert consumer.broker.asked == [{Q}]
    consumer.app.intake.gated.clear()
    assert await fetch(consumer) == [(0, [0, 1, 2, 3])]


async def test_an_assignment_that_ends_at_once_is_no_error(consumer: Consumer) -> None:
    consumer.broker.fault = IllegalStateError("not assigned")
    assert await fetch(consumer) == []
    consumer.broker.fault = None
    assert await fetch(consumer) == [(0, [0, 1, 2, 3])]


async def test_a_record_that_cannot_be_parsed_is_stepped_over(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[TopicPartition, int | None]] = []

    async def step_over(_: object, positions: dict[TopicPartition, int | None]) -> Any:
        asked.append(positions)
        consumer.broker.at[P] = 3
        return {
            TopicPartition(*P): [
                FakeRecord("lane", 0, 0),
                FakeRecord("lane", 0, 1),
                Unreadable("lane", 0, 2),
            ]
        }

    monkeypatch.setattr("modelmora.agents.app.step_over", step_over)
    consumer.broker.unreadable = {2}
    consumer.app.intake.gated.add(Q)
    assert await fetch(consumer, take=False) == [(0, [0, 1, 2])]
    assert asked == [{TopicPartition(*P): 0}]


async def test_only_the_ledger_is_committed(consumer: Consumer) -> None:
    intake, broker = consumer.app.intake, consumer.broker
    assert not await consumer.force_commit()
    record = FakeRecord("lane", 0, 0)
    intake.begin(record)
    intake.done(record)
    broker.fault = KafkaError("the broker is gone")
    assert not await consumer.force_commit()
    broker.fault = None
    assert await consumer.force_commit()
    (commit,) = broker.commits
    assert {TP(*tp): tuple(each) for tp, each in commit.items()} == {P: (1, "")}
    assert not await consumer.force_commit()
