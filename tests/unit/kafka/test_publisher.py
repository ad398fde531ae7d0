"""The publisher asks again for whatever its producer could not do, and outlives the producer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException

from modelmora.kafka.writing import producing, transactions
from modelmora.kafka.writing import publisher as publishing
from modelmora.kafka.writing.books import Due
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


class Named:
    """A producer's client that tells of its end whenever it is asked to."""

    def __init__(self, _: object, __: object, on_fatal: Callable[[Named], None], ___: object):
        self._on_fatal = on_fatal

    def check(self) -> None:
        """The broker is there."""

    def end(self) -> None:
        """There is nothing."""

    def tell(self) -> None:
        self._on_fatal(self)


async def test_a_producer_is_not_replaced_for_the_end_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "Client", Named)
    publisher = Publisher(SETTINGS)
    await publisher.start()
    first = publisher._client
    assert isinstance(first, Named)
    first.tell()
    await until(lambda: publisher._client not in (None, first))
    second = publisher._client
    first.tell()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert publisher._client is second
    await publisher.stop()


class Committing(Ending):
    """The first of these raises what is fatal from the first poll() after a commit."""

    commits = 0
    told_late = True

    def __init__(self, config: object, **more: object) -> None:
        super().__init__(config, **more)
        self._told: list[Callable[..., None]] = []

    def init_transactions(self, _: float) -> None:
        """Nothing was left open."""

    def begin_transaction(self) -> None:
        """There is none."""

    def produce(self, *record: object, headers: object, **_: object) -> None:
        report = record[-1]
        assert callable(report)
        self._told.append(report)

    def commit_transaction(self, _: float) -> None:
        type(self).commits += 1
        self.due = self.first
        if not self.told_late:
            self._tell()

    def poll(self, timeout: float) -> None:
        super().poll(timeout)
        self._tell()

    def _tell(self) -> None:
        while self._told:
            self._told.pop()(None, Message())


class Alone:
    """A node that reads nothing."""

    membership: tuple[object, dict[tuple[str, int], int]] = None, {}

    def dues(self, _: object) -> dict[tuple[str, int], Due]:
        return {}

    def paid(self, _: object) -> None:
        """There is nothing."""


@pytest.mark.parametrize("told_late", [True, False])
async def test_what_is_committed_is_not_written_again_though_the_producer_ends_then(
    monkeypatch: pytest.MonkeyPatch, told_late: bool
) -> None:
    Committing.made = Committing.commits = 0
    monkeypatch.setattr(Committing, "told_late", told_late)
    monkeypatch.setattr(transactions, "Producer", Committing)
    publisher = TransactionalPublisher(SETTINGS, "bearer")
    publisher.reader = publisher.books = Alone()
    await publisher.start()
    answers: list[Answer] = []
    for number in (1, 2):
        publisher.send(Record("results", b"k", b"v", answers.append))
        await asyncio.wait_for(publisher.flush(), CAP_S)
        assert (answers, Committing.commits) == ([Written(0, 7, 0)] * number, number)
        await until(lambda: publisher._producer is None or Committing.made == 2)
        assert publisher._thread.is_alive()
    await publisher.stop()
