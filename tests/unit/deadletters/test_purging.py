"""A purge that cannot be done whole does nothing, or says what it has done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from modelmora.deadletters import purging
from modelmora.deadletters.letters import DeadLetter, Letters, Survey
from modelmora.errors import ModelMoraError, NotAllowed
from modelmora.kafka.reading.reader import Record
from modelmora.settings import Settings

SETTINGS = Settings(bootstrap_servers="127.0.0.1:1")
DENIED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
GONE = KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)
TOPIC = Letters(SimpleNamespace(), SETTINGS).topic  # type: ignore[arg-type]


class Broker:
    """Takes notes and cuts; refuses the `denied` cut from then on, and a note of `unnoted`."""

    def __init__(self, denied: int = 9, why: KafkaError = DENIED, unnoted: int = -1) -> None:
        self.denied, self.why, self.unnoted = denied, why, unnoted
        self.notes: list[int] = []
        self.cuts: list[dict[int, int]] = []
        self._asked = 0

    def produce(self, *record: Any, headers: Sequence[tuple[str, bytes]]) -> None:
        report: Callable[..., None] = record[-1]
        offset = int(headers[0][1].split()[1])
        if offset == self.unnoted:
            report(DENIED, None)
        else:
            self.notes.append(offset)
            report(None, None)

    def poll(self, _: float) -> None:
        """All is reported at once."""

    def flush(self, _: float) -> int:
        return 0

    def delete_records(self, wanted: list[TopicPartition], **_: Any) -> dict[Any, Future[None]]:
        self._asked += 1
        answers: dict[Any, Future[None]] = {}
        for place in wanted:
            answers[place] = Future()
            if self._asked >= self.denied:
                answers[place].set_exception(KafkaException(self.why))
            else:
                answers[place].set_result(None)
        if self._asked < self.denied:
            self.cuts.append({place.partition: place.offset for place in wanted})
        return answers


class Three(Letters):
    """Letters at 4, 5 and 6 of partition 0; the last is left."""

    def __init__(self) -> None:
        self.topic = TOPIC

    def bounds(self) -> dict[tuple[str, int], tuple[int, int]]:
        return {(TOPIC, 0): (4, 7), (TOPIC, 1): (0, 0)}

    def survey(self, *_: object, **__: object) -> Survey:
        return Survey([letter(6)])


def letter(offset: int) -> DeadLetter:
    return DeadLetter.of(Record(TOPIC, 0, offset, 1, None, b"{}", ()))


def purge(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> int:
    monkeypatch.setattr(purging, "Producer", lambda _: broker)
    monkeypatch.setattr(purging, "AdminClient", lambda _: broker)
    return purging.purge(SETTINGS, Three(), [letter(4), letter(5)])


def test_it_asks_whether_it_may_delete_before_it_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(denied=1)
    with pytest.raises(NotAllowed, match="denies us Delete") as told:
        purge(monkeypatch, broker)
    assert (broker.notes, broker.cuts, "in no list" in str(told.value)) == ([], [], False)
    broker = Broker()
    assert purge(monkeypatch, broker) == 2
    assert (broker.notes, broker.cuts) == ([4, 5], [{0: 4}, {0: 6}])


@pytest.mark.parametrize(
    ("broker", "kind", "done"),
    [
        (Broker(denied=2), NotAllowed, "denies us Delete .*; 2 of 2 dead letters are in no list"),
        (Broker(denied=2, why=GONE), ModelMoraError, "refused: .*; 2 of 2 dead letters are in no"),
        (Broker(unnoted=5), NotAllowed, "denies us Write .*; 1 of 2 dead letters are in no list"),
    ],
)
def test_what_fails_later_says_what_is_done(
    monkeypatch: pytest.MonkeyPatch, broker: Broker, kind: type[ModelMoraError], done: str
) -> None:
    with pytest.raises(kind, match=done):
        purge(monkeypatch, broker)
