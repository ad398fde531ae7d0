"""The publisher asks again for whatever its producer could not do, and outlives the producer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException

from modelmora.kafka.writing import producing, transactions
from modelmora.kafka.writing import publisher as publishing
from modelmora.kafka.writing.publisher import Answer, Publisher, Record, Written
from modelmora.kafka.writing.transactions import TransactionalPublisher
from modelmora.settings import Settings
from tests.topics import CAP_S, until

EARLY_S = 0.001
SETTINGS = Settings(bootstrap_servers="127.0.0.1:1")
FATAL = KafkaError(KafkaError._FATAL, "planted", fatal=True)
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
    publisher = Publisher(SETTINGS)
    await publisher.start()
    answers: list[Answer] = []
    publisher.send(Record("results", b"k", b"v", answers.append))
    await asyncio.wait_for(publisher.flush(), CAP_S)
    assert answers == [Written(0, 7, 0)]
    assert publisher.parked == {}
    await publisher.stop()


class Ending:
    """A producer whose poll() raises what is fatal, and which then has nothing to say."""

    made = 0

    def __init__(self, config: object, **_: object) -> None:
        type(self).made += 1
        self.first, self.due = self.made == 1, False

    def produce(self, *record: object, headers: object, **_: object) -> None:
        """Take a record, and never tell of it."""
        self.due = self.first

    def list_topics(self, timeout: float) -> None:
        """The broker is there."""

    def init_transactions(self, _: float) -> None:
        self.due = self.first

    def abort_transaction(self, _: float) -> None:
        raise KafkaException(FATAL)

    def poll(self, _: float) -> None:
        if self.due:
            self.due = False
            raise KafkaException(FATAL)
        time.sleep(0.001)

    def flush(self, _: float) -> None:
        raise KafkaException(FATAL)

    def purge(self, **_: object) -> None:
        """There is nothing."""


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> type[Ending]:
    Ending.made = 0
    monkeypatch.setattr(producing, "Producer", Ending)
    monkeypatch.setattr(transactions, "Producer", Ending)
    return Ending


async def test_a_producer_that_comes_to_its_end_while_nothing_is_sent_is_replaced(
    ending: type[Ending],
) -> None:
    publisher = Publisher(SETTINGS)
    await publisher.start()
    publisher.send(Record("results", b"k", b"v", lambda _: None))
    await until(lambda: ending.made == 2)
    await until(lambda: publisher.backlog_of(["results"]) == 1)
    await publisher.stop()


async def test_the_thread_of_transactions_outlives_a_producer_that_ends_while_it_rests(
    ending: type[Ending],
) -> None:
    publisher = TransactionalPublisher(SETTINGS, "bearer")
    await publisher.start()
    await until(lambda: publisher._producer is None)
    assert publisher._thread.is_alive()
    await publisher.stop()
