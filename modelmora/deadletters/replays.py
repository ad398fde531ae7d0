"""Putting dead letters back: each as a new run of its id, and a note that this was done."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from modelmora.deadletters.letters import DeadLetter, Letters, Replay, original_headers, place_text
from modelmora.errors import ModelMoraError, NotFound, Unreachable
from modelmora.kafka.acls import Grant, Operation, Resource
from modelmora.kafka.admin import explain
from modelmora.kafka.denied import on_topic, reason
from modelmora.kafka.reading.reader import Place, Record
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.topics import lane_topics
from modelmora.kafka.writing.producing import producer_config
from modelmora.kafka.writing.publisher import GIVEN_BACK
from modelmora.messages.headers import RUN
from modelmora.settings import Settings
from modelmora.wire import MOST_RUNS

WRITE_S = 8.0
TRANSACTION_S = 10
WAIT_S = 30.0
TRIES, RETRY_S = 10, 0.2
BY_KEY = -1
AT_ONCE, AT_ONCE_BYTES = 100, 4 << 20
_SILENT = logging.getLogger(__name__)
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
FENCED = (
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
)


@dataclass(slots=True, eq=False)
class Rerun:
    """A record that is to go back, and the letters that hold it; there may be more than one.

    `to` is where it lies (topic:partition:offset), or will (the topic); `why` it does not go back.
    """

    letters: list[DeadLetter]
    run: int = 0
    to: str | None = None
    why: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Its first letter stands for all."""
        letter = self.letters[0]
        told = {"place": place_text(letter.place), "request_id": letter.request_id or None}
        return told | {"run": self.run or None, "to": self.to, "why": self.why}


def plan(
    letters: Iterable[DeadLetter], runs: Mapping[str, int], lanes: Iterable[str], *, again: bool
) -> list[Rerun]:
    """What becomes of each letter; `runs` is the highest run of each id so far, where above 1.

    (1) A letter that was written twice goes back once.
    (2) One that was replayed goes back `again` only.
    (3) It goes back to the lane that it came from, whole.
    (4) As the next run of its id. Without an id there is only the letter's own to go by.
    """
    # (1)
    twins: dict[object, list[DeadLetter]] = {}
    for letter in letters:
        twins.setdefault((letter.source or letter.place, letter.digest), []).append(letter)
    known, there = dict(runs), set(lanes)
    reruns = [Rerun(found) for found in twins.values()]
    for rerun in reruns:
        letter = rerun.letters[0]
        replays = [each.replay for each in rerun.letters if each.replay]
        before = max([letter.run, *(each.run for each in replays)])
        if letter.request_id:
            before = max(before, known.get(letter.request_id, 1))
        # (2)
        if replays and not again:
            rerun.why = f"was replayed as run {replays[-1].run}; `again` does it once more"
        # (3)
        elif letter.source is None or letter.source[0] not in there:
            rerun.why = "its headers name no topic to go back to"
        elif letter.cut:
            rerun.why = "only its first 64 KiB were kept"
        elif before >= MOST_RUNS:
            rerun.why = f"it has had {before} runs, which is all there can be"
        # (4)
        else:
            rerun.run, rerun.to = before + 1, letter.source[0]
            known[letter.request_id] = rerun.run
    return reruns


@dataclass(slots=True)
class _Batch:
    """What goes into one transaction."""

    found: list[tuple[Rerun, Record]] = field(default_factory=list)
    bytes: int = 0


class Replayer:
    """Writes records and notes in transactions; only one at a time does in a namespace.

    Whoever opens one ends the transactions of the one before it, and reads what that has committed:
    so no letter is replayed twice by two people, and none is noted that was not replayed. Raises
    Unreachable, WrongCredentials, and ModelMoraError once another was opened.
    """

    def __init__(self, settings: Settings, reader: Reader, letters: Letters) -> None:
        self._settings = settings
        self._servers = settings.bootstrap_servers or ""
        self._reader = reader
        self._letters = letters
        self._homes: dict[str, frozenset[Place]] = {}
        self._producer = Producer(
            producer_config(settings, WRITE_S)
            | {
                "transactional.id": f"{settings.namespace}.dlq",
                "transaction.timeout.ms": TRANSACTION_S * 1000,
            },
            # Else librdkafka writes to the terminal.
            logger=_SILENT,
        )

    def open(self) -> Self:
        """Be the one who replays, and wait until all that others did can be read."""
        try:
            self._open()
            with closing(Standing(self._settings)) as standing:
                places = self._reader.places(self._letters.topic)
                standing.patiently(lambda asked: _settled(asked, places))
        except KafkaException as error:
            raise self._fault(error) from None
        return self

    def _open(self) -> None:
        try:
            self._producer.init_transactions(WAIT_S)
        except KafkaException as error:
            bearer = f"{self._settings.namespace}.dlq"
            needed = Grant(Operation.WRITE, Resource.TRANSACTIONAL_ID, bearer)
            raise self._fault(error, needed) from None

    def write(self, reruns: Iterable[Rerun]) -> None:
        """Put those back that are to go back, and say of each where it lies or why it does not."""
        by_place = {each.letters[0].place: each for each in reruns if each.to}
        batch = _Batch()
        letters = [each.letters[0] for each in by_place.values()]
        for letter, record in self._letters.records(letters):
            batch.found.append((by_place.pop(letter.place), record))
            batch.bytes += letter.bytes
            if len(batch.found) >= AT_ONCE or batch.bytes >= AT_ONCE_BYTES:
                self._transact(batch.found)
                batch = _Batch()
        if batch.found:
            self._transact(batch.found)
        for rerun in by_place.values():
            rerun.to, rerun.why = None, "it is not there any more"

    def _transact(self, found: list[tuple[Rerun, Record]]) -> None:
        """All of these or none; where one cannot be written, each by itself."""
        faults = self._attempt(found)
        for _ in range(TRIES):
            if any(fault.code() not in GIVEN_BACK for fault in faults) or not faults:
                break
            # The producer is still busy with the end of one that failed.
            time.sleep(RETRY_S)
            faults = self._attempt(found)
        if faults and len(found) == 1:
            needed = on_topic(Operation.WRITE, (found[0][0].letters[0].source or ("",))[0])
            found[0][0].to, found[0][0].why = None, reason(faults[0], needed)
        elif faults:
            for each in found:
                self._transact([each])

    def _attempt(self, found: list[tuple[Rerun, Record]]) -> list[KafkaError]:
        """One transaction; what the broker refused of it, and then nothing was written."""
        try:
            self._producer.begin_transaction()
            if faults := self._produce(found):
                self._producer.abort_transaction(WAIT_S)
            else:
                self._note(found)
                self._insist()
        except BaseException as error:
            with suppress(KafkaException):
                self._producer.abort_transaction(WRITE_S)
            if isinstance(error, KafkaException):
                raise self._fault(error) from None
            raise
        return faults

    def _produce(self, found: list[tuple[Rerun, Record]]) -> list[KafkaError]:
        """Write the records and wait for the broker; what it refused, and why."""
        faults: list[KafkaError] = []
        places: dict[Rerun, str] = {}

        def report(rerun: Rerun, error: KafkaError | None, message: Message) -> None:
            if error:
                faults.append(error)
            else:
                at = message.topic(), message.partition(), message.offset()
                places[rerun] = place_text(at)

        for rerun, record in found:
            (topic, partition), headers = self._home(rerun), _headers(record, rerun.run)
            try:
                self._producer.produce(
                    topic,
                    record.value,
                    record.key,
                    partition,
                    headers=headers,
                    on_delivery=partial(report, rerun),
                )
            except KafkaException as error:
                faults.append(error.args[0])
        try:
            left = self._producer.flush(WAIT_S)
        except SystemError as error:
            # What is fatal is raised, and reports are called with that pending.
            raise (error.__cause__ or error) from None
        if left and not faults:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        for rerun, place in places.items() if not faults else ():
            rerun.to = place
        return faults

    def _home(self, rerun: Rerun) -> tuple[str, int]:
        """Where it lay, for there its twins lie too; by its key where that partition is gone."""
        topic, number, _ = rerun.letters[0].source or ("", 0, 0)
        if topic not in self._homes:
            self._homes[topic] = frozenset()
            with suppress(NotFound):  # which is this one's fault, and no other's
                self._homes[topic] = frozenset(self._reader.places(topic) if topic else ())
        return topic, number if (topic, number) in self._homes[topic] else BY_KEY

    def _note(self, found: list[tuple[Rerun, Record]]) -> None:
        for rerun, _ in found:
            for letter in rerun.letters:
                topic, partition, offset = letter.place
                self._producer.produce(
                    topic,
                    None,
                    letter.request_id.encode() or None,
                    partition,
                    headers=Replay.headers((partition, offset), rerun.run, rerun.to or ""),
                )

    def _insist(self) -> None:
        """Commit until it is decided: after a time-out only asking again tells how it ended."""
        until = time.monotonic() + WAIT_S
        while True:
            try:
                self._producer.commit_transaction(WRITE_S)
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > until:
                    raise
            else:
                return

    def _fault(self, error: KafkaException, needed: Grant | None = None) -> ModelMoraError:
        if error.args[0].code() in FENCED:
            return ModelMoraError(
                "someone else replays dead letters now, or the broker was too slow; see "
                "`modelmora dlq list` for what is left, and try again"
            )
        needed = needed or on_topic(Operation.WRITE, self._letters.topic)
        return explain(error, self._servers, needed)


def _headers(record: Record, run: int) -> list[Any]:
    kept = [header for header in original_headers(record) if header[0] != RUN]
    return [*kept, (RUN, b"%d" % run)]


def _settled(standing: Standing, places: Iterable[Place]) -> None:
    """Wait until readers of committed records get all that lies there now; raises Unreachable."""
    ends = {place: end for place, (_, end) in standing.bounds(places).items()}
    until = time.monotonic() + WAIT_S
    while any(
        end < ends[place] for place, (_, end) in standing.bounds(ends, committed=True).items()
    ):
        if time.monotonic() > until:
            raise Unreachable("a transaction is open on the dead letters; try again in a minute")
        time.sleep(0.1)


def lanes_there(reader: Reader, settings: Settings) -> Iterator[str]:
    """The lanes that there are: nothing goes back to any other topic."""
    for lane in lane_topics(settings):
        with suppress(NotFound):
            reader.places(lane, to=Operation.WRITE)
            yield lane
