"""Dead letters as a person looks for them, and the notes which say that one was replayed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from modelmora.errors import ConfigurationError, NotFound
from modelmora.kafka.reading.newest import Key, Newest, Page, page
from modelmora.kafka.reading.reader import Place, Record
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import Topic
from modelmora.messages.headers import (
    ATTEMPT,
    CONNECT,
    ERROR_CODE,
    EXIT_CODE,
    HANDED_ON,
    HANDED_ON_SIGNATURE,
    PURGE_OF,
    READ_AT,
    REPLAY_OF,
    REPLAYED_TO,
    REQUEST_ID,
    RUN,
    SHA256,
    SIZE,
)
from modelmora.settings import Settings
from modelmora.text import iso, shorten
from modelmora.wire import read_run, readable_head, readable_request_id

ADDED = {ERROR_CODE, ATTEMPT, EXIT_CODE, SHA256, SIZE, HANDED_ON, HANDED_ON_SIGNATURE, READ_AT}
"""Headers that were put on the original record, beside Kafka Connect's."""
MOST_PARTITION, MOST_OFFSET = 9, 18
"""Digits of the greatest there can be."""
SHOWN = 200
"""Characters of what a caller has written, in an error."""
LISTED = "see `modelmora dlq list` or GET /dead-letters"
UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Replay:
    """A note on the dead-letter topic: the letter at `letter` was put back as this run of its id.

    A record without a value. It lies on the letter's own partition, so behind it; its key is the
    request id. `letter` is (partition, offset), `to` topic:partition:offset of the new record.
    """

    letter: tuple[int, int]
    request_id: str
    run: int
    to: str
    time: int

    @classmethod
    def of(cls, record: Record) -> Self | None:
        """The note that a record is; None for a dead letter, which always has its code."""
        place = re.fullmatch(r"(\d{1,9}) (\d{1,18})", record.header(REPLAY_OF) or "", re.ASCII)
        if place is None or record.value is not None or record.header(ERROR_CODE) is not None:
            return None
        return cls(
            (int(place[1]), int(place[2])),
            (record.key or b"").decode("utf-8", "replace"),
            run_of(record),
            record.header(REPLAYED_TO) or "",
            record.timestamp,
        )

    @staticmethod
    def headers(letter: tuple[int, int], run: int, to: str) -> list[tuple[str, bytes]]:
        """Those of a note."""
        place = b"%d %d" % letter
        return [(REPLAY_OF, place), (RUN, b"%d" % run), (REPLAYED_TO, to.encode())]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What the headers of a dead letter say, and the head of what was sent; never the content.

    `source` is (topic, partition, offset) of the original record, None where they do not say.
    `cut`: the topic did not take the record whole, so that only its beginning is here.
    """

    place: tuple[str, int, int]
    time: int
    request_id: str
    model: str
    run: int
    code: str
    reason: str
    source: tuple[str, int, int] | None
    attempt: int | None
    worker_exit_code: int | None
    key: bytes | None
    bytes: int
    cut: bool
    digest: str
    """Of its bytes, by which a letter that was written twice is known."""
    replay: Replay | None = None
    """The newest of it."""

    @classmethod
    def of(cls, record: Record) -> Self:
        """A record of the dead-letter topic."""
        head = readable_head(record.plain)
        topic, *at = (record.header(CONNECT + name) for name in ("topic", "partition", "offset"))
        numbers = _place_numbers(*(each or "" for each in at)) if topic else None
        return cls(
            place=(record.topic, record.partition, record.offset),
            time=record.timestamp,
            request_id=readable_request_id(record.plain) or record.header(REQUEST_ID) or "",
            model=(head.model or head.task or "")
            if head
            else (record.key or b"").decode("utf-8", "replace"),
            run=run_of(record),
            code=record.header(ERROR_CODE) or "unknown",
            reason=record.header(f"{CONNECT}exception.message") or "",
            source=(topic, *numbers) if topic and numbers else None,
            attempt=number(record.header(ATTEMPT)),
            worker_exit_code=number(record.header(EXIT_CODE)),
            key=record.key,
            bytes=number(record.header(SIZE), MOST_OFFSET) or len(record.value or b""),
            cut=record.header(SHA256) is not None,
            digest=hashlib.sha256(record.value or b"").hexdigest(),
        )

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        replay = self.replay
        return {
            "place": place_text(self.place),
            "time": iso(self.time),
            "request_id": self.request_id or None,
            "model": self.model or None,
            "run": self.run,
            "code": self.code,
            "reason": self.reason,
            "source": place_text(self.source) or None,
            "attempt": self.attempt,
            "worker_exit_code": self.worker_exit_code,
            "key": self.key.decode("utf-8", "replace") if self.key is not None else None,
            "bytes": self.bytes,
            "cut": self.cut,
            "replayed": replay and {"run": replay.run, "to": replay.to, "time": iso(replay.time)},
        }


def purged(record: Record) -> tuple[int, int] | None:
    """Partition and offset of the letter of which a record says that it is purged."""
    place = re.fullmatch(r"(\d{1,9}) (\d{1,18})", record.header(PURGE_OF) or "", re.ASCII)
    if place is None or record.value is not None or record.header(ERROR_CODE) is not None:
        return None
    return int(place[1]), int(place[2])


def place_text(place: tuple[str, int, int] | None) -> str:
    """topic:partition:offset, "" for none."""
    return ":".join(map(str, place)) if place else ""


def run_of(record: Record) -> int:
    """Which run of its id a record is."""
    return read_run((record.header(RUN) or "").encode())


def original_headers(record: Record) -> list[tuple[str, bytes | None]]:
    """The headers that a dead letter's record had before it came here."""
    return [
        (name, value)
        for name, value in record.headers
        if name not in ADDED and not name.startswith(CONNECT)
    ]


def number(text: str | None, digits: int = MOST_PARTITION) -> int | None:
    """A header that holds a whole number, of so many digits at most: strangers write them too."""
    return int(text) if text and re.fullmatch(rf"-?\d{{1,{digits}}}", text, re.ASCII) else None


def _place_numbers(partition: str, offset: str) -> tuple[int, int] | None:
    """A partition and an offset, as their digits say; None where these are none."""
    found = re.fullmatch(r"(\d{1,9}) (\d{1,18})", f"{partition} {offset}", re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: of a code, of a model by name or name@version, since or before a time.

    Times are Unix ms.
    """

    code: str | None = None
    model: str | None = None
    since: int | None = None
    before: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether it is one of them."""
        names = {letter.model, letter.model.partition("@")[0]}
        return (
            self.code in (None, letter.code)
            and (self.model is None or self.model in names)
            and (self.since is None or letter.time >= self.since)
            and (self.before is None or letter.time < self.before)
        )


@dataclass(slots=True)
class Survey:
    """The letters that were asked for, in no order, and the highest run of each id above 1."""

    letters: list[DeadLetter] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Notes:
    """What is noted of letters behind them, and the highest run of each id above 1."""

    replays: dict[tuple[int, int], Replay] = field(default_factory=dict)
    gone: set[tuple[int, int]] = field(default_factory=set)
    runs: dict[str, int] = field(default_factory=dict)

    def read(self, record: Record) -> DeadLetter | None:
        """The letter that a record is; None for a note, which is kept."""
        if place := purged(record):
            self.gone.add(place)
            return None
        if note := Replay.of(record):
            kept = self.replays.get(note.letter)
            if kept is None or kept.run <= note.run:  # what lies further back is read later
                self.replays[note.letter] = note
            self._ran(note.request_id, note.run)
            return None
        letter = DeadLetter.of(record)
        self._ran(letter.request_id, letter.run)
        return letter

    def _ran(self, request_id: str, run: int) -> None:
        if request_id and run > self.runs.get(request_id, 1):
            self.runs[request_id] = run

    def keep(self, letter: DeadLetter) -> bool:
        """Whether it is not purged."""
        return letter.place[1:] not in self.gone

    def on(self, letter: DeadLetter) -> DeadLetter:
        """The letter with its newest replay."""
        return replace(letter, replay=self.replays.get(letter.place[1:]))


class Letters:
    """The dead letters of a namespace."""

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader = reader
        self._namespace = settings.namespace
        self.topic = Topic.DEAD_LETTERS.full(settings.namespace)

    def newest(self, count: int, wanted: Wanted) -> list[DeadLetter]:
        """The last so many by time, oldest first."""
        places = self._reader.places(self.topic)
        bounds = {place: self._reader.bounds(place) for place in places}
        window = count
        while True:
            starts = {place: max(low, high - window) for place, (low, high) in bounds.items()}
            if wanted != Wanted() or all(starts[place] == bounds[place][0] for place in places):
                return _by_time(self.survey(wanted.takes, wanted.since).letters)[-count:]
            found = _by_time(self.survey(wanted.takes, starts=starts).letters)
            if len(found) >= count:
                return found[-count:]
            # Notes lie among them.
            window *= 8

    def survey(
        self,
        takes: Callable[[DeadLetter], bool],
        since: int | None = None,
        *,
        starts: Mapping[Place, int] | None = None,
    ) -> Survey:
        """What lies there, or was written since (Unix ms); each letter with its newest replay."""
        if starts is None:
            starts = self._reader.since(self._reader.places(self.topic), since)
        notes = _Notes()
        letters = map(notes.read, self._reader.read(starts))
        found = [each for each in letters if each and takes(each)]
        return Survey([notes.on(each) for each in found if notes.keep(each)], notes.runs)

    def page(
        self,
        limit: int,
        takes: Callable[[DeadLetter], bool],
        since: int | None = None,
        before: Key | None = None,
    ) -> Page[DeadLetter]:
        """The newest that are taken, from `before` on back: so many at most."""
        notes, places = _Notes(), self._reader.places(self.topic)

        def take(record: Record, newest: Newest[DeadLetter]) -> None:
            letter = notes.read(record)
            if letter and takes(letter):
                newest.take((letter.time, *letter.place[1:]), letter)

        found = page(self._reader, places, limit, take, notes.keep, since=since, before=before)
        return Page(tuple(map(notes.on, found.items)), found.before)

    def matches(self, selector: str) -> Callable[[DeadLetter], bool]:
        """Whether a letter is meant by a request id, or by its own or its source's place."""
        place = place_of(selector, self._namespace)
        # An id may look like a place.
        return lambda letter: (
            bool(selector)
            and (
                letter.request_id == selector
                or (place is not None and place in (letter.place, letter.source))
            )
        )

    def bounds(self) -> dict[Place, tuple[int, int]]:
        """Where each partition of the topic begins and ends."""
        return {each: self._reader.bounds(each) for each in self._reader.places(self.topic)}

    def find(self, selector: str) -> list[DeadLetter]:
        """Those of one request id or place, oldest first. Raises NotFound where there is none."""
        place = place_of(selector, self._namespace)
        starts: dict[Place, int] | None = None
        if place and place[0] == self.topic:
            there = place[:2] in self._reader.places(self.topic)
            starts = {place[:2]: place[2]} if there else {}
            if there and place[2] >= self._reader.bounds(place[:2])[1]:
                starts = {}
        if found := _by_time(self.survey(self.matches(selector), starts=starts).letters):
            return found
        raise none_of(selector)

    def records(self, letters: Iterable[DeadLetter]) -> Iterable[tuple[DeadLetter, Record]]:
        """Each with its record, read anew and in the order in which they lie there."""
        left = {letter.place: letter for letter in letters}
        starts: dict[Place, int] = {}
        for topic, partition, offset in left:
            place = (topic, partition)
            starts[place] = min(offset, starts.get(place, offset))
        for record in self._reader.read(starts) if left else ():
            letter = left.pop((record.topic, record.partition, record.offset), None)
            if letter:
                yield letter, record
                if not left:
                    return


def none_of(selector: str) -> NotFound:
    """There is no such letter."""
    return NotFound(f"no dead letter of {shorten(selector, SHOWN)}; {LISTED}")


def _by_time(letters: list[DeadLetter]) -> list[DeadLetter]:
    return sorted(letters, key=lambda letter: letter.time)


def since_ms(text: str, now_ms: int, option: str = "--since") -> int:
    """`2h`, `30m`, `7d` before now, or an ISO time, as Unix ms. Raises ConfigurationError."""
    span = re.fullmatch(rf"(\d{{1,9}})\s*({'|'.join(UNITS_S)})", text.strip(), re.ASCII)
    if span:
        return max(0, now_ms - int(span[1]) * UNITS_S[span[2]] * 1000)
    try:
        return max(0, int(datetime.fromisoformat(text).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise ConfigurationError(
            f"{option} {shorten(text, SHOWN)} must be a span (30m, 2h, 7d) or a time "
            "(2026-01-31T12:00)"
        ) from None


def place_of(selector: str, namespace: str) -> tuple[str, int, int] | None:
    """`topic:partition:offset` with a full or short topic name; None for anything else.

    Without a topic it is a place on the dead-letter topic, as `dlq list` shows them.
    Raises ConfigurationError for a topic name with something else behind it.
    """
    parts = selector.rsplit(":", 2)
    if len(parts) == 2:
        parts = [str(Topic.DEAD_LETTERS), *parts]
    if len(parts) != 3:
        return None
    topic, partition, offset = parts
    short = {str(topic) for topic in Topic}
    if numbers := _place_numbers(partition, offset):
        return f"{namespace}.{topic}" if topic in short else topic, *numbers
    if selector.startswith(topic) and (topic in short or topic.startswith(f"{namespace}.")):
        raise ConfigurationError(f"{selector} must be topic:partition:offset")
    return None
