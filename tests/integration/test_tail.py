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
from modelmora.kafka.tail import Tail
from modelmora.settings import Settings
from tests.topics import CAP_S, create_topic, produce


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
async def tailing(settings: Settings) -> AsyncIterator[tuple[Tail, Seen]]:
    seen = Seen()
    tail = Tail(settings, seen)
    try:
        yield tail, seen
    finally:
        await tail.stop()


async def test_a_tail_reads_from_the_beginning_and_on(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.tail"
    create_topic(servers, topic, partitions=2)
    produce(servers, topic, b"a", b"b")
    async with tailing(settings) as (tail, seen):
        await tail.start({topic: [0, 1]}, "beginning")
        await asyncio.wait_for(tail.caught_up(), CAP_S)
        assert seen.values == [b"a", b"b"]
        await asyncio.to_thread(produce, servers, topic, b"c", partition=1)
        await seen.until(lambda values: values == [b"a", b"b", b"c"])


async def test_a_tail_reads_from_the_end_at_once(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.end"
    create_topic(servers, topic)
    produce(servers, topic, b"old")
    async with tailing(settings) as (tail, seen):
        await tail.start({topic: [0]}, "end")
        await asyncio.wait_for(tail.caught_up(), CAP_S)
        produce(servers, topic, b"new")
        await seen.until(bool)
        assert seen.values == [b"new"]


async def test_a_tail_reads_from_a_time(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.time"
    create_topic(servers, topic, partitions=2)
    producer = Producer({"bootstrap.servers": servers})
    for stamp in (1000, 2000, 3000):
        producer.produce(topic, b"%d" % stamp, partition=0, timestamp=stamp)
    producer.produce(topic, b"older", partition=1, timestamp=500)
    assert producer.flush(30) == 0
    async with tailing(settings) as (tail, seen):
        await tail.start({topic: [0, 1]}, 2000)
        await asyncio.wait_for(tail.caught_up(), CAP_S)
        assert seen.values == [b"2000", b"3000"]
        produce(servers, topic, b"next", partition=1)
        await seen.until(lambda values: values == [b"2000", b"3000", b"next"])


@pytest.mark.parametrize(("start", "extra"), [("beginning", [b"x", b"y"]), ("end", []), (0, None)])
async def test_partitions_are_added_and_nothing_read_twice(
    settings: Settings, start: Any, extra: list[bytes] | None
) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.add"
    create_topic(servers, topic, partitions=2)
    produce(servers, topic, b"a", b"b")
    produce(servers, topic, b"x", b"y", partition=1)
    async with tailing(settings) as (tail, seen):
        await tail.start({topic: [0]}, "beginning")
        await asyncio.wait_for(tail.caught_up(), CAP_S)
        both = {topic: [0, 1]}
        await asyncio.gather(tail.add(both, start), tail.add(both, start), tail.add(both, start))
        await asyncio.to_thread(produce, servers, topic, b"c")
        await asyncio.to_thread(produce, servers, topic, b"z", partition=1)
        await seen.until(lambda values: {b"c", b"z"} <= set(values))
        expected = [b"x", b"y"] if extra is None else extra
        assert sorted(seen.values) == sorted([b"a", b"b", b"c", *expected, b"z"])


async def test_a_tail_goes_on_when_a_handler_raises(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.bad"
    create_topic(servers, topic)
    produce(servers, topic, b"bad", b"good")
    seen = Seen()

    def handle(record: aiokafka.ConsumerRecord) -> None:
        if record.value == b"bad":
            raise RuntimeError("planted")
        seen(record)

    tail = Tail(settings, handle)
    await tail.start({topic: [0]}, "beginning")
    await seen.until(lambda values: values == [b"good"])
    await tail.stop()


async def test_a_tail_survives_its_broker(mortal: EmbeddedBroker, namespace: str) -> None:
    settings = Settings(bootstrap_servers=mortal.bootstrap_servers, namespace=namespace)
    topic = f"{namespace}.survive"
    create_topic(mortal.bootstrap_servers, topic, partitions=2)
    produce(mortal.bootstrap_servers, topic, b"before")
    async with tailing(settings) as (tail, seen):
        await tail.start({topic: [0, 1]}, "beginning")
        await seen.until(lambda values: values == [b"before"])
        await asyncio.to_thread(mortal.kill)
        await mortal.start_async()
        await asyncio.to_thread(produce, mortal.bootstrap_servers, topic, b"after")
        await asyncio.to_thread(produce, mortal.bootstrap_servers, topic, b"other", partition=1)
        await seen.until(lambda values: len(values) >= 3)
        assert sorted(seen.values) == [b"after", b"before", b"other"]


def _rename_header(batch: bytearray) -> None:
    """Make the one header name `zz` of an uncompressed record batch no UTF-8."""
    from aiokafka.record._crc32c import crc

    at = batch.index(b"zz")
    batch[at : at + 2] = b"\xff\xfe"
    batch[17:21] = crc(bytes(batch[21:])).to_bytes(4, "big")


async def test_a_tail_steps_over_a_record_that_cannot_be_read(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.name"
    create_topic(servers, topic, partitions=2)
    produce(servers, topic, b"1")
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    batch = producer.create_batch()
    batch.append(timestamp=None, key=None, value=b"unreadable", headers=[("zz", b"")])
    raw = bytearray(batch._build())
    _rename_header(raw)
    batch._buffer = raw
    await (await producer.send_batch(batch, topic, partition=0))
    await producer.stop()
    produce(servers, topic, b"2")
    produce(servers, topic, b"3", partition=1)
    async with tailing(settings) as (tail, seen):
        await tail.start({topic: [0, 1]}, "beginning")
        await asyncio.wait_for(tail.caught_up(), CAP_S)
        assert sorted(seen.values) == [b"1", b"2", b"3"]
