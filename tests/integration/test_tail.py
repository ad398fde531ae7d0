"""Reading without a group on a real broker, through its deaths too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiokafka
import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.tail import Tail
from modelmora.settings import Settings
from tests.topics import (
    CAP_S,
    create_topic,
    delete_topic,
    produce,
    produce_unreadable,
    until,
)


@pytest.fixture
def settings(broker: EmbeddedBroker, namespace: str) -> Settings:
    return Settings(bootstrap_servers=broker.bootstrap_servers, namespace=namespace)


class Seen:
    """A handler that remembers values and lets a test wait for them."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, record: aiokafka.ConsumerRecord) -> None:
        self.values.append(record.value)
        task = asyncio.create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, test: Callable[[list[bytes]], bool]) -> None:
        async with asyncio.timeout(CAP_S), self._changed:
            await self._changed.wait_for(lambda: test(self.values))


@asynccontextmanager
async def tailing(
    settings: Settings, topic: str, handle: Callable[[aiokafka.ConsumerRecord], None] | None = None
) -> AsyncIterator[tuple[Tail, Seen]]:
    """A tail of the topic, not yet started; `handle` comes before what remembers.

    That a topic was made anew is remembered as a value, its name.
    """
    seen = Seen()

    def both(record: aiokafka.ConsumerRecord) -> None:
        if handle:
            handle(record)
        seen(record)

    pulse = Pulse(settings, [topic])
    tail = Tail(settings, pulse, both, on_anew=lambda name: seen.values.append(name.encode()))
    await pulse.start()
    try:
        yield tail, seen
    finally:
        await tail.stop()
        await pulse.stop()


async def test_a_tail_reads_from_the_beginning_and_on(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.tail"
    create_topic(servers, topic, partitions=2)
    produce(servers, topic, b"a", b"b")
    async with tailing(settings, topic) as (tail, seen):
        await tail.start({topic: [0, 1]}, "beginning")
        await asyncio.wait_for(tail.caught_up(), CAP_S)
        assert seen.values == [b"a", b"b"]
        await asyncio.to_thread(produce, servers, topic, b"c", partition=1)
        await seen.until(lambda values: values == [b"a", b"b", b"c"])


async def test_a_tail_reads_from_the_end_at_once(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.end"
    create_topic(servers, topic)
    produce(servers, topic, b"old")
    async with tailing(settings, topic) as (tail, seen):
        await tail.start({topic: [0]}, "end")
        await asyncio.wait_for(tail.caught_up(), CAP_S)
        produce(servers, topic, b"new")
        await seen.until(bool)
        assert seen.values == [b"new"]


async def test_a_tail_is_closed_though_nobody_waits_for_it(settings: Settings) -> None:
    topic = f"{settings.namespace}.left"
    create_topic(str(settings.bootstrap_servers), topic)
    async with tailing(settings, topic) as (tail, _):
        await tail.start({topic: [0]}, "end")
        reading = tail._task
        stopping = asyncio.create_task(tail.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        assert reading
        await asyncio.wait([reading], timeout=CAP_S)
        assert tail._consumer is None


async def test_a_tail_goes_on_when_a_handler_raises(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.bad"
    create_topic(servers, topic)
    produce(servers, topic, b"bad", b"good")

    def handle(record: aiokafka.ConsumerRecord) -> None:
        if record.value == b"bad":
            raise RuntimeError("planted")

    async with tailing(settings, topic, handle) as (tail, seen):
        await tail.start({topic: [0]}, "beginning")
        await seen.until(lambda values: values == [b"good"])


@pytest.mark.row("F7")
async def test_a_tail_survives_its_broker(mortal: EmbeddedBroker, namespace: str) -> None:
    settings = Settings(bootstrap_servers=mortal.bootstrap_servers, namespace=namespace)
    topic = f"{namespace}.survive"
    create_topic(mortal.bootstrap_servers, topic, partitions=2)
    produce(mortal.bootstrap_servers, topic, b"before")
    async with tailing(settings, topic) as (tail, seen):
        await tail.start({topic: [0, 1]}, "beginning")
        await seen.until(lambda values: values == [b"before"])
        await asyncio.to_thread(mortal.kill)
        reading = asyncio.create_task(tail.read_all(topic))
        await mortal.start_async()
        await asyncio.wait_for(reading, CAP_S)
        await asyncio.to_thread(produce, mortal.bootstrap_servers, topic, b"after")
        await asyncio.to_thread(produce, mortal.bootstrap_servers, topic, b"other", partition=1)
        await seen.until(lambda values: len(values) >= 3)
        assert sorted(seen.values) == [b"after", b"before", b"other"]


async def test_a_tail_steps_over_a_record_that_cannot_be_read(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.name"
    create_topic(servers, topic, partitions=2)
    produce(servers, topic, b"1")
    await produce_unreadable(servers, topic)
    produce(servers, topic, b"2")
    produce(servers, topic, b"3", partition=1)
    async with tailing(settings, topic) as (tail, seen):
        await tail.start({topic: [0, 1]}, "beginning")
        await asyncio.wait_for(tail.caught_up(), CAP_S)
        assert sorted(seen.values) == [b"1", b"2", b"3"]


async def test_a_tail_gives_only_what_was_committed(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.committed"
    create_topic(servers, topic)
    producer = Producer({"bootstrap.servers": servers, "transactional.id": topic, "log_level": 0})
    await asyncio.to_thread(producer.init_transactions, CAP_S)

    def transaction(value: bytes) -> None:
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        producer.flush()

    async with tailing(settings, topic) as (tail, seen):
        await tail.start({topic: [0]}, "beginning")
        await asyncio.to_thread(transaction, b"taken back")
        await asyncio.to_thread(producer.abort_transaction, CAP_S)
        await asyncio.to_thread(transaction, b"kept")
        await asyncio.to_thread(producer.commit_transaction, CAP_S)
        await seen.until(bool)
        assert seen.values == [b"kept"]


@pytest.mark.row("F30")
@pytest.mark.parametrize("new", [[b"1", b"2"], [b"1", b"2", b"3", b"4", b"5"]])
async def test_a_topic_that_is_made_anew_is_read_from_its_beginning(
    settings: Settings, new: list[bytes]
) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.anew"
    create_topic(servers, topic)
    produce(servers, topic, b"a", b"b", b"c")
    async with tailing(settings, topic) as (tail, seen):
        await tail.start({topic: [0]}, "end")
        await asyncio.to_thread(delete_topic, servers, topic)
        await asyncio.to_thread(create_topic, servers, topic)
        await asyncio.to_thread(produce, servers, topic, *new)
        # Whatever came before, all of it comes behind the word that the topic is another.
        word = topic.encode()
        await seen.until(lambda v: word in v and v[v.index(word) + 1 :] == new)


async def test_a_tail_does_not_stand_still_behind_the_end(settings: Settings) -> None:
    """As after a leader that was elected unclean: the same topic, with less in it."""
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.short"
    create_topic(servers, topic)
    produce(servers, topic, b"a", b"b")
    async with tailing(settings, topic) as (tail, seen):
        await tail.start({topic: [0]}, "beginning")
        await seen.until(lambda values: len(values) == 2)
        place = aiokafka.TopicPartition(topic, 0)
        tail._next[place] = 1000
        tail._assign(tail._consumer)
        await seen.until(lambda values: values == [b"a", b"b", b"a", b"b"])


async def test_a_tail_replaces_a_consumer_that_fails(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.fails"
    create_topic(servers, topic)
    async with tailing(settings, topic) as (tail, seen):
        await tail.start({topic: [0]}, "beginning")

        async def fail(**_: Any) -> None:
            raise AssertionError("planted")

        assert tail._consumer
        tail._consumer.getmany = fail
        await until(lambda: tail.fault is not None)
        await asyncio.to_thread(produce, servers, topic, b"after")
        await seen.until(lambda values: values == [b"after"])
        await until(lambda: tail.fault is None)


@pytest.mark.row("F10")
async def test_a_tail_replaces_a_consumer_that_fetches_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.kafka.reading.tail.QUIET_S", 0.5)
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.stuck"
    create_topic(servers, topic)
    async with tailing(settings, topic) as (tail, seen):
        await tail.start({topic: [0]}, "beginning")

        async def nothing(**_: Any) -> dict[Any, Any]:
            await asyncio.sleep(0.1)
            return {}

        assert tail._consumer
        tail._consumer.getmany = nothing
        await asyncio.to_thread(produce, servers, topic, b"waits")
        await seen.until(lambda values: values == [b"waits"])
