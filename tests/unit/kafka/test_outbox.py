"""What waits to be written is bounded where it may be: by number and by bytes, the oldest goes."""

from __future__ import annotations

import gc
import weakref

import pytest
from confluent_kafka import KafkaError

from modelmora.kafka.writing import outbox
from modelmora.kafka.writing.outbox import Answer, Dropped, Ends, Outbox, Record, Refused
from modelmora.kafka.writing.publisher import Publisher, gives_up
from modelmora.settings import Settings


class Idle(Outbox):
    """Nothing is ever handed over."""

    def wake(self) -> None:
        return None


@pytest.mark.parametrize("size", [1, 1000])
def test_the_oldest_progress_makes_room_and_nothing_else_does(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BOUND_BYTES", 20_000)
    dropped: list[int] = []
    held = Idle(None, {"progress": 100})

    def send(topic: str, number: int, size: int) -> None:
        def done(answer: Answer) -> None:
            assert answer == Dropped()
            dropped.append(number)

        held.send(Record(topic, None, bytes(size), done))

    send("events", -1, 10_000)
    for number in range(200):
        send("progress", number, size)
    kept = 100 if size == 1 else 10
    assert dropped == list(range(200 - kept))
    assert held.backlog == kept + 1
    send("progress", 200, 50_000)
    assert dropped[-1] == 199, "one is always left, however large"


class Content:
    """Stands for what a record holds."""


def test_what_was_decided_is_let_go_without_the_collector() -> None:
    held, content = Idle(None, {"progress": 1}), Content()
    left = weakref.ref(content)

    def send(content: Content) -> None:
        def done(_: Answer) -> None:
            assert result
            assert content

        result = Record("progress", None, b"", done)
        held.send(result)

    gc.disable()  # as good as off in a node
    try:
        send(content)
        del content
        assert left() is not None
        held.send(record())
        held.send(Record("progress", None, b"", lambda _: None))
        assert left() is None
    finally:
        gc.enable()


def record(*, optional: bool = True, partition: int | None = None) -> Record:
    return Record("t", None, b"", lambda _: None, optional=optional, partition=partition)


@pytest.mark.parametrize(
    ("code", "given_up"),
    [
        (KafkaError._UNKNOWN_TOPIC, True),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, True),
        (KafkaError.INVALID_RECORD, True),
        (KafkaError._UNKNOWN_PARTITION, True),
        (KafkaError.MSG_SIZE_TOO_LARGE, False),
        (KafkaError._PURGE_QUEUE, False),
        (KafkaError._FATAL, False),
    ],
)
def test_only_what_is_optional_is_given_up_and_only_for_its_topic(
    code: int, given_up: bool
) -> None:
    assert gives_up(record(), KafkaError(code), True) is given_up
    assert not gives_up(record(optional=False), KafkaError(code), True)


def test_who_may_not_write_is_told_where_it_asks_to_be() -> None:
    told: list[Answer] = []
    publisher = Publisher(Settings())
    denied = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    for if_allowed in (True, False):
        asked = Record("t", None, b"", told.append, if_allowed=if_allowed)
        publisher.send(asked)
        publisher._failed(publisher._flows["t"], asked, denied)
    named = "the broker denies us Write on topic t; `modelmora topics acls` prints what to grant"
    assert told == [Refused(named)]
    assert publisher.parked == {"t": named}


def test_a_partition_that_is_missing_is_first_left_to_the_key() -> None:
    assert not gives_up(record(partition=7), KafkaError(KafkaError._UNKNOWN_PARTITION), True)


def test_what_is_late_twice_is_given_up_while_the_broker_answers() -> None:
    late, away = record(), KafkaError(KafkaError._MSG_TIMED_OUT)
    told = [gives_up(late, away, connected) for connected in (True, False, False, True)]
    assert told == [False, False, False, True]


@pytest.mark.parametrize("ends", [None, Ends(("lane", 0), 1, 7)])
def test_what_may_lie_there_all_the_same_and_ends_a_request_is_not_given_up(
    ends: Ends | None,
) -> None:
    publisher, told = Publisher(Settings()), list[Answer]()
    publisher.connected = True
    late = Record("t", None, b"", told.append, optional=True, ends=ends)
    publisher.send(late)
    for _ in range(2):
        publisher._failed(publisher._flows["t"], late, KafkaError(KafkaError._MSG_TIMED_OUT))
    assert bool(told) is (ends is None)
