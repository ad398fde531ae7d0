"""Looking back on a real broker: what is read, and that whoever waits is always told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.reading.lookback import NOTICED_MS, LookBack, LookBackFailed
from modelmora.settings import Settings
from modelmora.wire import new_request_id, time_of
from modelmora.wire.ids import id_of_place
from tests.topics import create_topic

HOUR = 3_600_000


class Look:
    """A look-back over a topic of three partitions, and what it has found."""

    def __init__(self, servers: str, topic: str) -> None:
        self._servers, self._topic = servers, topic
        self.found: list[bytes] = []
        settings = Settings(bootstrap_servers=servers)
        self.back = LookBack(settings, topic, self._take)

    def _take(self, record: ConsumerRecord) -> None:
        if record.value == b"bad":
            raise RuntimeError("planted")
        self.found.append(record.value)

    def write(self, partition: int, timestamp: int, *values: bytes) -> None:
        producer = Producer({"bootstrap.servers": self._servers})
        for value in values:
            producer.produce(self._topic, value, partition=partition, timestamp=timestamp)
        assert producer.flush(30) == 0


@pytest.fixture
async def look(broker: EmbeddedBroker, namespace: str) -> AsyncIterator[Look]:
    topic = f"{namespace}.results"
    create_topic(broker.bootstrap_servers, topic, partitions=3)
    look = Look(broker.bootstrap_servers, topic)
    yield look
    await look.back.stop()


async def test_other_partitions_are_read_as_far_as_they_may_hold_it(look: Look) -> None:
    now = time_of(new_request_id()) or 0
    look.write(0, now - 3 * HOUR, b"old")
    look.write(0, now - HOUR, b"perhaps by another count")
    look.write(1, now - 3 * HOUR, b"its own")
    await look.back.search("no-time-in-it", 1, 3)
    assert set(look.found) == {b"old", b"perhaps by another count", b"its own"}
    look.found.clear()
    look.write(2, now - 2 * HOUR, b"the first of the last")
    look.write(0, now - 2 * HOUR + NOTICED_MS, b"after all had noticed")
    await look.back.search("no-time-in-it", 1, 3)
    assert set(look.found) == {b"old", b"the first of the last", b"its own"}
    look.found.clear()
    await look.back.search(new_request_id(), 1, 3)
    assert look.found == []


async def test_the_time_of_an_id_whose_clock_is_ahead_says_nothing(look: Look) -> None:
    now = time_of(new_request_id()) or 0
    look.write(1, now - 1000, b"its outcome")
    await look.back.search(id_of_place("t", 0, 0, now + 6 * HOUR), 1, 3)
    assert look.found == [b"its outcome"]


async def test_a_handler_that_raises_holds_up_nothing(look: Look) -> None:
    look.write(1, time_of(new_request_id()) or 0, b"bad", b"good")
    await look.back.search(new_request_id(), 1, 3)
    assert look.found == [b"good"]


async def test_whoever_waits_is_told_when_nothing_comes(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    look.write(1, time_of(new_request_id()) or 0, b"there")
    await look.back.search("no-time-in-it", 0, 3)

    async def nothing(**_: Any) -> dict[Any, Any]:
        await asyncio.sleep(0.01)
        return {}

    assert look.back._consumer
    monkeypatch.setattr("modelmora.kafka.reading.lookback.STANDSTILL_S", 0.5)
    look.back._consumer.getmany = nothing
    look.found.clear()
    with pytest.raises(LookBackFailed):
        await look.back.search("no-time-in-it", 1, 3)
    monkeypatch.undo()
    await look.back.search("no-time-in-it", 1, 3)
    assert look.found == [b"there"]


async def test_nothing_is_opened_behind_its_end(look: Look) -> None:
    await look.back.stop()
    with pytest.raises(LookBackFailed):
        await look.back.search("no-time-in-it", 1, 3)
