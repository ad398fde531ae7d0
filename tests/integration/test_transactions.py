"""Outcomes and offsets in one transaction, on a real broker."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from modelmora.broker import EmbeddedBroker
from modelmora.errors import Unreachable
from modelmora.kafka.batches import Partition
from modelmora.kafka.writing import doubtful, transactions
from modelmora.kafka.writing.books import Due, Dues
from modelmora.kafka.writing.publisher import Dropped, Ends, Record, TooLarge, Written
from modelmora.kafka.writing.transactions import TransactionalPublisher
from modelmora.settings import Settings
from tests.checker.reading import Cluster
from tests.integration.test_publisher import Answers, settings
from tests.programs import eventually
from tests.topics import CAP_S, create_topic, delete_topic, until, values_of

__all__ = ["settings"]


class Group:
    """A group of one consumer that reads one topic, and what of it is done."""

    def __init__(self, settings: Settings) -> None:
        self.servers = str(settings.bootstrap_servers)
        self.requests = f"{settings.namespace}.requests"
        self.results = f"{settings.namespace}.results"
        self.lock = threading.Lock()
        self.done: set[int] = set()
        self.lost: set[int] = set()
        self.metadata: list[Any] = []
        self.epochs: dict[Partition, int] = {(self.requests, 0): 1}
        self.paid_dues: list[Dues] = []
        for topic in (self.requests, self.results):
            create_topic(self.servers, topic, message_timestamp_type="LogAppendTime")
        config = {"bootstrap.servers": self.servers, "group.id": settings.group, "log_level": 0}
        self.consumer = Consumer(
            config | {"auto.offset.reset": "earliest", "enable.auto.commit": False}
        )
        self.consumer.subscribe([self.requests])

    async def joined(self) -> None:
        await until(lambda: self.consumer.poll(0.1) is not None or bool(self.consumer.assignment()))

    @property
    def membership(self) -> tuple[object, dict[Partition, int]]:
        """Metadata that a test has put there first, then the true ones."""
        with self.lock:
            true = self.consumer.consumer_group_metadata()
            return (self.metadata.pop(0) if self.metadata else true), dict(self.epochs)

    def paid(self, dues: Dues) -> None:
        self.paid_dues.append(dues)

    def dues(self, records: Sequence[Record]) -> Dues:
        done = self.done | {record.ends.offset for record in records if record.ends}
        offset = next(number for number in range(len(done) + 1) if number not in done)
        return {(self.requests, 0): Due(1, offset, f"after {len(done)}")}

    def outcome(self, answers: Answers, offset: int, value: bytes = b"") -> Record:
        record = answers.record(self.results, b"%d" % offset + value, key=b"%d" % offset)
        record.wanted = lambda: offset not in self.lost
        record.ends = Ends((self.requests, 0), 1, offset)
        collect = record.done

        def done(answer: Any) -> None:
            if isinstance(answer, Written):
                self.done.add(offset)
            collect(answer)

        record.done = done
        return record

    def committed(self) -> int:
        (found,) = self.consumer.committed([TopicPartition(self.requests, 0)], 30)
        return int(found.offset)

    def written(self) -> list[bytes | None]:
        """What readers get, once the marks of the last transaction are written."""
        with closing(Cluster(self.servers)) as cluster:
            ends = partial(cluster.ends, [self.results])
            eventually(lambda: ends() == ends(committed=True), "no open transaction", CAP_S)
        return values_of(self.servers, self.results)


@pytest.fixture
async def group(settings: Settings) -> AsyncIterator[Group]:
    group = await asyncio.to_thread(Group, settings)
    with closing(group.consumer):
        await group.joined()
        yield group


@asynccontextmanager
async def publishing(settings: Settings, group: Group) -> AsyncIterator[TransactionalPublisher]:
    name = f"{settings.namespace}.member"
    publisher = TransactionalPublisher(settings, name)
    publisher.reader = publisher.books = group
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop()


async def flushed(publisher: TransactionalPublisher) -> None:
    await asyncio.wait_for(publisher.flush(), CAP_S)


async def test_outcomes_and_offsets_are_committed_together(
    settings: Settings, group: Group
) -> None:
    answers = Answers()
    async with publishing(settings, group) as publisher:
        for number in range(500):
            publisher.send(group.outcome(answers, number))
        await flushed(publisher)
        assert (publisher.backlog, publisher.oldest_s(), publisher.parked) == (0, 0, {})
    assert group.written() == list(answers.offsets()) == [b"%d" % n for n in range(500)]
    assert group.committed() == 500
    answer = answers.of[b"0"][0]
    assert isinstance(answer, Written)
    assert answer.timestamp > 0


async def test_what_is_not_owned_any_more_is_neither_written_nor_committed(
    settings: Settings, group: Group
) -> None:
    answers = Answers()
    async with publishing(settings, group) as publisher:
        for number in range(10):
            publisher.send(group.outcome(answers, number))
        group.lost |= {3, 7}
        await flushed(publisher)
    for number in group.lost:
        assert answers.of.pop(b"%d" % number) == [Dropped()]
    assert group.written() == list(answers.offsets())
    assert group.committed() == 3


async def test_what_was_given_back_after_it_was_prepared_is_not_written(
    settings: Settings, group: Group
) -> None:
    answers, prepare = Answers(), group.dues

    def dues(records: Sequence[Record]) -> Dues:
        found = prepare(records)
        group.epochs[group.requests, 0] = 2  # as the reader's thread does at any moment
        group.lost |= set(range(10))  # and the loop hears of it later
        return found

    group.dues = dues  # type: ignore[method-assign]
    async with publishing(settings, group) as publisher:
        for number in range(10):
            publisher.send(group.outcome(answers, number))
        await flushed(publisher)
    assert all(answer == [Dropped()] for answer in answers.of.values())
    assert group.written() == []
    assert group.committed() < 0
    assert group.paid_dues == []


async def test_commits_need_no_outcome(settings: Settings, group: Group) -> None:
    group.done |= {0, 1, 2}
    async with publishing(settings, group) as publisher:
        publisher.commit()
        await until(lambda: bool(group.paid_dues))
    assert group.paid_dues == [{(group.requests, 0): Due(1, 3, "after 3")}]
    assert group.committed() == 3


async def test_a_dead_letter_and_its_result_are_written_together_or_not_at_all(
    settings: Settings, group: Group
) -> None:
    letters = f"{settings.namespace}.dead-letters"
    create_topic(group.servers, letters, max_message_bytes="1000000")
    answers, told, large = Answers(), Answers(), b"x" * 1_500_000
    async with publishing(settings, group) as publisher:
        for number in range(20):
            outcome = group.outcome(answers, number)
            outcome.after = told.record(letters, large if number == 7 else b"%d" % number)
            publisher.send(outcome)
        await flushed(publisher)
        assert told.of.pop(large) == [TooLarge()]
        assert answers.of.pop(b"7") == [Dropped()]
        assert group.committed() == 7
        assert b"7" not in group.written()
        outcome = group.outcome(answers, 7)
        outcome.after = told.record(letters, b"7")
        publisher.send(outcome)
        await flushed(publisher)
    ours = [b"%d" % number for number in range(20)]
    assert set(values_of(group.servers, letters)) == set(group.written()) == set(ours)
    assert len(values_of(group.servers, letters)) == len(group.written()) == len(ours)
    assert group.committed() == 20


async def test_any_number_of_records_go_before_an_outcome(settings: Settings, group: Group) -> None:
    letters, shown = f"{settings.namespace}.dead-letters", f"{settings.namespace}.shown"
    for topic in (letters, shown):
        create_topic(group.servers, topic, max_message_bytes="1000000")
    answers, told, large = Answers(), Answers(), b"x" * 1_500_000
    async with publishing(settings, group) as publisher:
        for number in range(10):
            outcome = group.outcome(answers, number)
            outcome.after = told.record(shown, large if number == 4 else b"s%d" % number)
            outcome.after.after = told.record(letters, b"l%d" % number)
            publisher.send(outcome)
        await flushed(publisher)
    assert told.of.pop(large) == [TooLarge()]
    assert told.of.pop(b"l4") == answers.of.pop(b"4") == [Dropped()]
    rest = [number for number in range(10) if number != 4]
    assert Counter(values_of(group.servers, shown)) == Counter(b"s%d" % each for each in rest)
    assert Counter(values_of(group.servers, letters)) == Counter(b"l%d" % each for each in rest)
    assert Counter(group.written()) == Counter(b"%d" % each for each in rest)
    assert {type(answer) for each in told.of.values() for answer in each} == {Written}


async def test_a_commit_of_a_former_generation_is_made_again_with_the_new_one(
    settings: Settings, group: Group
) -> None:
    group.metadata.append(group.consumer.consumer_group_metadata())
    other = Consumer({"bootstrap.servers": group.servers, "group.id": settings.group})
    with closing(other):
        other.subscribe([group.requests])
        stale = str(group.metadata[0])
        assert stale
        before = group.consumer.consumer_group_metadata
        joined = [False]

        def rebalanced() -> bool:
            group.consumer.poll(0.05)
            other.poll(0.05)
            members = len(group.consumer.assignment()) + len(other.assignment())
            joined[0] |= members == 1 and bool(before())
            return joined[0] and bool(other.assignment() or group.consumer.assignment())

        await until(rebalanced)
        answers = Answers()
        async with publishing(settings, group) as publisher:
            for number in range(10):
                publisher.send(group.outcome(answers, number))
            await flushed(publisher)
    assert group.metadata == []
    assert group.written() == list(answers.offsets())


async def test_a_fenced_producer_is_replaced_and_nothing_is_written_twice(
    settings: Settings, group: Group
) -> None:
    answers = Answers()
    async with publishing(settings, group) as publisher:
        publisher.send(group.outcome(answers, 0))
        await flushed(publisher)
        name = f"{settings.namespace}.member"
        thief = Producer({"bootstrap.servers": group.servers, "transactional.id": name})
        thief.init_transactions(30)
        for number in range(1, 100):
            publisher.send(group.outcome(answers, number))
        await flushed(publisher)
    assert group.written() == list(answers.offsets())
    assert group.committed() == 100


async def test_a_missing_topic_and_a_large_record_spoil_no_other_outcome(
    settings: Settings, group: Group
) -> None:
    letters = f"{settings.namespace}.dead-letters"
    create_topic(group.servers, letters, max_message_bytes="1000000")
    held, answers, large = Answers(), Answers(), b"x" * 1_500_000
    async with publishing(settings, group) as publisher:
        publisher.send(held.record(letters, b"before"))
        publisher.send(held.record(letters, large))
        await flushed(publisher)
        assert held.of.pop(large) == [TooLarge()]
        await asyncio.to_thread(delete_topic, group.servers, letters)
        for number in range(50):
            publisher.send(held.record(letters, b"%d" % number))
            publisher.send(group.outcome(answers, number))
        await until(lambda: answers.count == 50)
        await until(lambda: letters in publisher.parked)
        await asyncio.to_thread(create_topic, group.servers, letters)
        await flushed(publisher)
    assert group.written() == list(answers.offsets())
    assert values_of(group.servers, letters) == [b"%d" % number for number in range(50)]


async def test_each_outcome_is_there_once_after_the_broker_was_killed(
    mortal: EmbeddedBroker, namespace: str
) -> None:
    settings = Settings(bootstrap_servers=mortal.bootstrap_servers, namespace=namespace)
    group = await asyncio.to_thread(Group, settings)
    with closing(group.consumer):
        await group.joined()
        answers = Answers()
        async with publishing(settings, group) as publisher:
            flow = asyncio.create_task(_flow(publisher, partial(group.outcome, answers)))
            await until(partial(answers.more_than, 100))
            await asyncio.to_thread(mortal.kill)
            await mortal.start_async()
            await flow
            await flushed(publisher)
            assert publisher.connected
        written = group.written()
        assert len(written) == len(set(written)) == len(answers.offsets()) == 2000


async def _flow(publisher: TransactionalPublisher, outcome: Callable[[int], Record]) -> None:
    for number in range(2000):
        publisher.send(outcome(number))
        if number % 10 == 0:
            await asyncio.sleep(0.01)


async def test_a_producer_that_never_comes_back_from_the_offsets_is_replaced(
    settings: Settings, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, released = [True], threading.Event()

    class Stuck(Producer):  # type: ignore[misc]
        def send_offsets_to_transaction(self, *args: Any) -> None:
            if away.pop():
                released.wait()
            super().send_offsets_to_transaction(*args)

    monkeypatch.setattr(transactions, "Producer", Stuck)
    monkeypatch.setattr(transactions, "PATIENCE_S", 1.0)
    answers = Answers()
    try:
        async with publishing(settings, group) as publisher:
            publisher.send(group.outcome(answers, 0))
            await until(lambda: not away)
            away.extend([False] * 1000)
            for number in range(1, 100):
                publisher.send(group.outcome(answers, number))
            await flushed(publisher)
    finally:
        released.set()
    assert group.written() == list(answers.offsets())
    assert len(group.written()) == group.committed() == 100


@pytest.mark.parametrize("committed", [True, False])
async def test_a_producer_that_ends_while_it_commits_leaves_no_record_twice(
    settings: Settings, group: Group, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    fatal = KafkaException(KafkaError(KafkaError._FENCED, "ends", True))
    ends = [fatal]

    class Mortal(Producer):  # type: ignore[misc]
        def commit_transaction(self, timeout: float) -> None:
            if committed or not ends:
                super().commit_transaction(timeout)
            else:
                self.flush(CAP_S)
            if ends:
                raise ends.pop()

    monkeypatch.setattr(transactions, "Producer", Mortal)
    answers = Answers()
    async with publishing(settings, group) as publisher:
        for number in range(10):
            publisher.send(group.outcome(answers, number))
        await flushed(publisher)
    assert not ends
    assert group.written() == list(answers.offsets()) == [b"%d" % n for n in range(10)]
    assert group.committed() == 10
    assert len(group.paid_dues) == 1


async def test_no_broker_is_told_at_the_start(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubtful, "START_S", 1.0)
    settings = Settings(bootstrap_servers="127.0.0.1:1", namespace=namespace)
    publisher = TransactionalPublisher(settings, "id")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        await publisher.start()
    await publisher.stop()
