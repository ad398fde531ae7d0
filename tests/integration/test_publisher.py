"""The publisher on a real broker, through its deaths too."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.writing.publisher import Answer, Publisher, Record, TooLarge, Written
from modelmora.settings import Settings
from modelmora.wire import new_request_id, partition_of
from tests.checker.reading import read_records
from tests.topics import CAP_S, create_topic, until, values_of


@pytest.fixture
def settings(broker: EmbeddedBroker, namespace: str) -> Settings:
    return Settings(bootstrap_servers=broker.bootstrap_servers, namespace=namespace)


class Answers:
    """Collects what `done` was called with, per value."""

    def __init__(self) -> None:
        self.of: dict[bytes, list[Answer]] = {}

    def record(self, topic: str, value: bytes, **fields: Any) -> Record:
        answers = self.of.setdefault(value, [])
        return Record(topic, fields.pop("key", b"k"), value, answers.append, **fields)

    def more_than(self, count: int) -> bool:
        """Whether more than that many answers have come."""
        return self.count > count

    @property
    def count(self) -> int:
        """How many answers have come."""
        return sum(map(len, self.of.values()))

    def offsets(self) -> dict[bytes, int]:
        """The offset of each record; each must have exactly one answer, an acknowledgement."""
        found = {}
        for value, answers in self.of.items():
            (answer,) = answers
            assert isinstance(answer, Written)
            found[value] = answer.offset
        return found


@asynccontextmanager
async def publishing(settings: Settings, **options: Any) -> AsyncIterator[Publisher]:
    publisher = Publisher(settings, **options)
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop()


async def test_records_are_written_in_order_and_acknowledged(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.order"
    create_topic(servers, topic, message_timestamp_type="LogAppendTime")
    answers = Answers()
    sent = [b"%d" % number for number in range(2000)]
    async with publishing(settings) as publisher:
        for value in sent:
            publisher.send(answers.record(topic, value, headers=[("h", b"1")]))
        assert publisher.backlog == 2000
        await asyncio.wait_for(publisher.flush(), CAP_S)
        assert publisher.backlog == 0
    records = list(read_records(servers, [topic]))
    assert [record.value for record in records] == sent
    assert answers.offsets() == {r.value: r.place.offset for r in records}
    answer = answers.of[b"0"][0]
    assert isinstance(answer, Written)
    assert answer.timestamp == records[0].timestamp
    assert records[0].headers == {"h": b"1"}


async def test_what_was_handed_over_is_waited_for_however_much_comes_behind(
    settings: Settings,
) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.steady"
    create_topic(servers, topic)
    answers, numbers = Answers(), count()
    async with publishing(settings) as publisher:

        def go_on(_: object) -> None:
            publisher.send(Record(topic, b"k", b"%d" % next(numbers), go_on))

        for _ in range(20):
            go_on(None)
        await until(lambda: next(numbers) > 100)
        publisher.send(answers.record(topic, b"waited for"))
        await asyncio.sleep(0)  # the publisher's turn
        await asyncio.wait_for(publisher.handed_over(), CAP_S)
        assert answers.count == 1
        assert publisher.backlog > 0, "it never was idle"


async def test_keys_go_where_ours_and_librdkafkas_murmur2_say(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.keys"
    create_topic(servers, topic, partitions=7)
    keys = [b"21", b"foobar", b"abc", *(new_request_id().encode() for _ in range(50))]
    answers = Answers()
    async with publishing(settings) as publisher:
        for key in keys:
            publisher.send(answers.record(topic, b"ours " + key, key=key))
        await asyncio.wait_for(publisher.flush(), CAP_S)
    foreign = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})
    for key in keys:
        foreign.produce(topic, b"theirs", key)
    assert foreign.flush(30) == 0
    found = [(record.key, record.place.partition) for record in read_records(servers, [topic])]
    assert sorted(found) == sorted(2 * [(key, partition_of(key, 7)) for key in keys])


async def test_an_oversized_record_is_told_and_the_others_go_on(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.small"
    create_topic(servers, topic, max_message_bytes="100000")
    answers = Answers()
    refused_there, refused_here = b"x" * 150_000, b"y" * 3_000_000
    async with publishing(settings) as publisher:
        for number in range(300):
            publisher.send(answers.record(topic, b"%d" % number))
            if number == 100:
                publisher.send(answers.record(topic, refused_there))
            if number == 200:
                publisher.send(answers.record(topic, refused_here))
        await asyncio.wait_for(publisher.flush(), CAP_S)
        publisher.send(answers.record(topic, b"last"))
        await asyncio.wait_for(publisher.flush(), CAP_S)
    for value in (refused_there, refused_here):
        (answer,) = answers.of.pop(value)
        assert isinstance(answer, TooLarge)
    assert set(values_of(servers, topic)) == set(answers.offsets())


async def test_a_record_of_neither_key_nor_value_is_written(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.null"
    create_topic(servers, topic)
    answers: list[Answer] = []
    async with publishing(settings) as publisher:
        publisher.send(Record(topic, None, None, answers.append))
        publisher.send(Record(topic, None, b"", answers.append))
        await asyncio.wait_for(publisher.flush(), CAP_S)
    assert [type(answer) for answer in answers] == [Written, Written]
    found = list(read_records(servers, [topic]))
    assert [(record.key, record.value) for record in found] == [(None, None), (None, b"")]


async def test_an_answer_that_is_not_taken_stops_nobody(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.raise"
    create_topic(servers, topic, max_message_bytes="100000")

    def fail(answer: Answer) -> None:
        raise RuntimeError("planted")

    answers = Answers()
    async with publishing(settings) as publisher:
        publisher.send(Record(topic, b"k", b"1", fail))
        publisher.send(Record(topic, b"k", b"z" * 3_000_000, fail))
        publisher.send(answers.record(topic, b"2"))
        await asyncio.wait_for(publisher.flush(), CAP_S)
    assert list(answers.offsets()) == [b"2"]


async def test_flush_waits_for_what_answers_send(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.chain"
    create_topic(servers, topic)
    answers = Answers()
    async with publishing(settings) as publisher:

        def then(answer: Answer) -> None:
            publisher.send(answers.record(topic, b"second"))

        publisher.send(Record(topic, b"k", b"first", then))
        await asyncio.wait_for(publisher.flush(), CAP_S)
        assert list(answers.offsets()) == [b"second"]


async def test_records_to_a_topic_that_comes_later_are_written(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.later"
    answers = Answers()
    async with publishing(settings, timeout_s=1) as publisher:
        publisher.send(answers.record(topic, b"early"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(publisher.flush(), 2)
        await asyncio.to_thread(create_topic, servers, topic)
        await asyncio.wait_for(publisher.flush(), CAP_S)
    assert list(answers.offsets()) == [b"early"]


async def _flow(publisher: Publisher, answers: Answers, topic: str, count: int) -> None:
    for number in range(count):
        publisher.send(answers.record(topic, b"%d" % number, key=b"%d" % (number % 5)))
        if number % 20 == 0:
            await asyncio.sleep(0.01)


@pytest.mark.row("F7")
async def test_nothing_is_lost_when_the_broker_is_killed(
    mortal: EmbeddedBroker, namespace: str
) -> None:
    settings = Settings(bootstrap_servers=mortal.bootstrap_servers, namespace=namespace)
    topic = f"{namespace}.kill"
    create_topic(mortal.bootstrap_servers, topic, partitions=3)
    answers = Answers()
    async with publishing(settings) as publisher:
        flow = asyncio.create_task(_flow(publisher, answers, topic, 6000))
        for _ in range(2):
            await until(partial(answers.more_than, answers.count))
            await asyncio.to_thread(mortal.kill)
            await mortal.start_async()
        await flow
        await asyncio.wait_for(publisher.flush(), CAP_S)
        publisher.send(answers.record(topic, b"after"))
        await asyncio.wait_for(publisher.flush(), CAP_S)
    written = Counter(values_of(mortal.bootstrap_servers, topic))
    assert set(written) == set(answers.offsets())


@pytest.mark.row("F8")
@pytest.mark.faults
async def test_a_long_outage_neither_wedges_nor_reorders(
    mortal: EmbeddedBroker, namespace: str
) -> None:
    """Longer than the producer tries by itself, with more waiting than it is given."""
    settings = Settings(bootstrap_servers=mortal.bootstrap_servers, namespace=namespace)
    topic = f"{namespace}.outage"
    create_topic(mortal.bootstrap_servers, topic)
    answers = Answers()
    async with publishing(settings, timeout_s=1) as publisher:
        publisher.send(answers.record(topic, b"first"))
        await asyncio.wait_for(publisher.flush(), CAP_S)
        await asyncio.to_thread(mortal.kill)
        numbered = [b"%06d" % number + b"." * 1000 for number in range(1000)]
        for value in numbered:
            publisher.send(answers.record(topic, value))
        await until(lambda: not publisher.connected)
        await mortal.start_async()
        await asyncio.wait_for(publisher.flush(), CAP_S)
        assert publisher.connected
    values = [value for value in values_of(mortal.bootstrap_servers, topic) if value != b"first"]
    assert len(answers.offsets()) == 1001
    # Written again perhaps, but never behind a newer record only.
    firsts = sorted(numbered, key=values.index)
    lasts = sorted(numbered, key=lambda value: len(values) - values[::-1].index(value))
    assert firsts == lasts == numbered


@pytest.mark.row("F8")
async def test_a_frozen_broker_loses_nothing(mortal: EmbeddedBroker, namespace: str) -> None:
    """It takes connections and never answers, as one behind a network fault does."""
    settings = Settings(bootstrap_servers=mortal.bootstrap_servers, namespace=namespace)
    topic = f"{namespace}.frozen"
    create_topic(mortal.bootstrap_servers, topic)
    answers = Answers()
    async with publishing(settings, timeout_s=1) as publisher:
        publisher.send(answers.record(topic, b"first"))
        await asyncio.wait_for(publisher.flush(), CAP_S)
        assert mortal.pid
        os.kill(mortal.pid, signal.SIGSTOP)
        try:
            for number in range(1000):
                publisher.send(answers.record(topic, b"%06d" % number + b"." * 1000))
            await until(lambda: not publisher.connected)
        finally:
            os.kill(mortal.pid, signal.SIGCONT)
        await asyncio.wait_for(publisher.flush(), CAP_S)
    assert set(values_of(mortal.bootstrap_servers, topic)) == set(answers.offsets())


@pytest.mark.parametrize("moment", ["in flight", "reconnecting"])
async def test_stopping_without_a_broker_ends(
    mortal: EmbeddedBroker, namespace: str, moment: str
) -> None:
    settings = Settings(bootstrap_servers=mortal.bootstrap_servers, namespace=namespace)
    topic = f"{namespace}.stop"
    create_topic(mortal.bootstrap_servers, topic)
    answers = Answers()
    async with publishing(settings, timeout_s=1) as publisher:
        publisher.send(answers.record(topic, b"first"))
        await asyncio.wait_for(publisher.flush(), CAP_S)
        await asyncio.to_thread(mortal.kill)
        for number in range(1000):
            publisher.send(answers.record(topic, b"%06d" % number + b"." * 1000))
        if moment == "in flight":
            await until(lambda: bool(publisher._flows[topic].under_way))
        else:
            await until(lambda: not publisher.connected)
        async with asyncio.timeout(CAP_S):
            await publisher.stop()
    assert answers.count == 1
    left = [t.get_coro() for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    assert left == []
