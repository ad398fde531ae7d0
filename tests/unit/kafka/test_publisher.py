"""The publisher asks again for whatever its producer could not do, and outlives the producer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException

from modelmora.kafka.writing import publisher as publishing
from modelmora.kafka.writing.publisher import Answer, Publisher, Record, Written
from modelmora.settings import Settings
from tests.topics import CAP_S

EARLY_S = 0.001
DENIED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)


class Message:
    """A record that the broker has."""

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_NOT_AVAILABLE, 0

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7


class Denying:
    """A producer's client that the broker refuses so many records."""

    left = 3

    def __init__(self, *_: object) -> None:
        pass

    def check(self) -> None:
        pass

    def end(self) -> None:
        pass

    def produce(self, *record: object, headers: object, **_: object) -> None:
        assert headers is None
        if self.left:
            self.left -= 1
            raise KafkaException(DENIED)
        report = record[-1]
        assert callable(report)
        report(None, Message())


async def test_a_topic_is_asked_again_though_the_timer_rings_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def early(self: Publisher, seconds: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds - EARLY_S, call)

    monkeypatch.setattr(publishing, "Client", Denying)
    monkeypatch.setattr(Publisher, "_later", early)
    publisher = Publisher(Settings(bootstrap_servers="127.0.0.1:1"))
    await publisher.start()
    answers: list[Answer] = []
    publisher.send(Record("results", b"k", b"v", answers.append))
    await asyncio.wait_for(publisher.flush(), CAP_S)
    assert answers == [Written(0, 7, 0)]
    assert publisher.parked == {}
    await publisher.stop()
