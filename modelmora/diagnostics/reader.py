"""Reading topics as they are, without a consumer group and without committing anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from modelmora.errors import NotFound, Undecodable, Unreachable, WrongCredentials
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import bootstrap_servers, confluent_config
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.standing import UNSETTLED
from modelmora.kafka.topics import LANE_TOPICS, Topic
from modelmora.serving.request import first_place
from modelmora.settings import Settings
from modelmora.wire import is_framed
from modelmora.wire.plainjson import encode_json, is_json

WAIT_S = 15.0
POLL_S = 0.05
BATCH = 500
T = TypeVar("T")
Place = tuple[str, int]
"""(topic, partition)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it lies on the broker; `timestamp` in Unix ms by the broker's clock."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    translated: bytes | None = None
    """The value in single-object encoding, where it lies there otherwise: framed, or as JSON."""

    @property
    def plain(self) -> bytes | None:
        """The value as the codec takes it."""
        return self.value if self.translated is None else self.translated

    @property
    def place(self) -> str:
        """topic:partition:offset, as `dlq show` takes it."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    def header(self, name: str) -> str | None:
        """The last value of a header as text."""
        for key, value in reversed(self.headers):
            if key == name:
                return value.decode("utf-8", "replace") if value is not None else None
        return None


def _nobody(_line: str) -> None:
    """Nobody is told."""


class Reader:
    """Reads partitions from where it is told; use it as a context manager.

    Its methods raise Unreachable, WrongCredentials and NotFound (no such topic). Blocking. `say`
    is told, in a line, that the schema registry is silent, so that values are left as they lie.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None] = _nobody) -> None:
        self._say = say
        self._servers = bootstrap_servers(settings)
        self._auth_failed = False
        self._schemas = Schemas.of(settings)
        self._silent = False
        topics = (*LANE_TOPICS.values(), Topic.DEAD_LETTERS)
        self._requests = {topic.full(settings.namespace) for topic in topics}
        self._consumer = Consumer(
            confluent_config(settings)
            | {
                # librdkafka wants a name; with assign() and no commits no such group comes to be.
                "group.id": f"{settings.namespace}.cli",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                # An end is told by an empty answer, for which the broker waits so long.
                "fetch.wait.max.ms": 50,
                "error_cb": self._on_error,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._consumer.close()
        if self._schemas:
            self._schemas.close()

    def _on_error(self, error: KafkaError) -> None:
        self._auth_failed |= error.code() == KafkaError._AUTHENTICATION

    def _fault(self, error: KafkaException | KafkaError) -> Exception:
        return WrongCredentials() if self._auth_failed else explain(error, self._servers)

    def places(self, *topics: str) -> list[Place]:
        """All partitions of these topics."""
        try:
            known = self._consumer.list_topics(timeout=WAIT_S).topics
        except KafkaException as error:
            raise self._fault(error) from None
        for topic in topics:
            if topic not in known:
                raise NotFound(f"there is no topic {topic}; run `modelmora topics create`")
        return [(topic, number) for topic in topics for number in sorted(known[topic].partitions)]

    def bounds(self, place: Place) -> tuple[int, int]:
        """The first offset kept and the offset that the next record will get."""
        asked = TopicPartition(*place)
        low, high = self._patiently(lambda: self._consumer.get_watermark_offsets(asked, WAIT_S))
        return low, high

    def since(self, places: Iterable[Place], milliseconds: int | None) -> dict[Place, int]:
        """Where to start so as to meet all records from a Unix time on (None: from the first)."""
        if milliseconds is None:
            return dict.fromkeys(places, OFFSET_BEGINNING)
        asked = [TopicPartition(topic, number, milliseconds) for topic, number in places]
        found = self._patiently(lambda: self._consumer.offsets_for_times(asked, WAIT_S))
        return {(tp.topic, tp.partition): tp.offset for tp in found}

    def newest(self, places: Iterable[Place], count: int) -> dict[Place, int]:
        """Where to start so as to meet at least the newest `count` records."""
        starts = {}
        for place in places:
            low, high = self.bounds(place)
            starts[place] = max(low, high - count)
        return starts

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Where the next records will be."""
        return {place: self.bounds(place)[1] for place in places}

    def read(self, starts: Mapping[Place, int]) -> Iterator[Record]:
        """All records from `starts` on that are there now; in order within a partition."""
        ends = self.ends(place for place, start in starts.items() if start != OFFSET_END)
        self._assign({place: starts[place] for place in ends})
        quiet_since = time.monotonic()
        while ends:
            for message in self._poll(BATCH):
                quiet_since = time.monotonic()
                place = (message.topic(), message.partition())
                if not message.error():
                    if message.offset() < ends.get(place, 0):
                        yield self._record(message)
                    # Producers may be faster than we read: what came later is not waited for.
                    if message.offset() + 1 >= ends.get(place, 0):
                        ends.pop(place, None)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    # The newest offsets may hold nothing to read: compaction, transactions.
                    ends.pop(place, None)
                else:
                    raise self._fault(message.error())
            if time.monotonic() - quiet_since > WAIT_S:
                raise Unreachable(f"the broker at {self._servers} stopped answering; try again")

    def follow(self, starts: Mapping[Place, int]) -> Iterator[Record | None]:
        """Records from `starts` on, for ever; None now and then while there are none."""
        self._assign(starts)
        while True:
            # One by one: a batch is handed over only when it is full or time is up.
            messages = self._poll(1)
            if not messages:
                yield None
            for message in messages:
                if not message.error():
                    yield self._record(message)
                elif message.error().code() != KafkaError._PARTITION_EOF:
                    raise self._fault(message.error())

    def one(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at exactly this place, or None where there is none (any more)."""
        if (topic, partition) not in self.places(topic):
            return None
        low, high = self.bounds((topic, partition))
        if not low <= offset < high:
            return None
        record = next(self.read({(topic, partition): offset}), None)
        return record if record and record.offset == offset else None

    def _record(self, message: Any) -> Record:
        record = _record(message)
        return replace(record, translated=self._translated(record))

    def _translated(self, record: Record) -> bytes | None:
        """The value in single-object encoding, where it lies there otherwise and can be read."""
        value = record.value
        if value and record.topic in self._requests and is_json(value, record.headers):
            with suppress(Undecodable):
                return encode_json(value, record.key, record.headers, *first_place(record))
        if self._schemas is None or value is None or not is_framed(value):
            return None
        try:
            found = self._schemas.plain(value)
            if found is None and not self._silent:
                self._schemas.ask(value)
                found = self._schemas.plain(value)
        except Undecodable:
            return None
        except Unreachable as error:
            self._silent = True
            self._say(f"{error} Records in its format are shown as not readable.")
            return None
        return found

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask, again while the brokers are still choosing who leads a partition."""
        until = time.monotonic() + WAIT_S
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() not in UNSETTLED or time.monotonic() > until:
                    raise self._fault(error) from None
            time.sleep(POLL_S)

    def _assign(self, starts: Mapping[Place, int]) -> None:
        self._consumer.assign(
            [TopicPartition(topic, number, at) for (topic, number), at in starts.items()]
        )

    def _poll(self, count: int) -> Sequence[Any]:
        """At most `count` messages; fewer only when none came for POLL_S."""
        try:
            messages: Sequence[Any] = self._consumer.consume(count, POLL_S)
        except KafkaException as error:
            raise self._fault(error) from None
        return messages


def _record(message: Any) -> Record:
    return Record(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        timestamp=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=tuple((name, value) for name, value in message.headers() or ()),
    )
