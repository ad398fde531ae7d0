"""Reading topics as they are: what lies there, and what comes, with a consumer group or without."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from modelmora.errors import (
    ConfigurationError,
    NotFound,
    Undecodable,
    Unreachable,
)
from modelmora.kafka.acls import Grant, Operation, reader_group
from modelmora.kafka.admin import explain
from modelmora.kafka.batches import headers_of
from modelmora.kafka.connection import bootstrap_servers, confluent_config
from modelmora.kafka.denied import is_denial, on_group, on_topic
from modelmora.kafka.reading.standing import UNSETTLED
from modelmora.kafka.refused import Refusals
from modelmora.kafka.schema_registry import Schemas
from modelmora.settings import Settings
from modelmora.wire import is_framed

WAIT_S = 15.0
POLL_S = 0.05
LOOK_S = 5.0
"""Partitions that are added are read within so long."""
BATCH = 500
PASSING = {*UNSETTLED, KafkaError._PARTITION_EOF, KafkaError._MAX_POLL_EXCEEDED}
"""What a reader that goes on is told and need not say."""
T = TypeVar("T")
Place = tuple[str, int]
"""(topic, partition)."""
Start = Literal["earliest", "latest"] | int
"""Where reading begins; a number is a time in Unix ms."""


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
    """None of them where the name of one is no UTF-8."""
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

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None] = _nobody,
        *,
        group: str | None = None,
    ) -> None:
        self._settings = settings
        self._say = say
        self._servers = bootstrap_servers(settings)
        self._heard = Refusals()
        self._group = group or reader_group(settings)
        self._schemas = Schemas.of(settings)
        self._silent = False
        config = confluent_config(settings) | {
            # librdkafka wants a name; with assign() and no commits no such group comes to be.
            "group.id": self._group,
            "enable.auto.commit": group is not None,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            # Where a topic was made anew, or retention has passed the place.
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "topic.metadata.refresh.interval.ms": round(LOOK_S * 1000),
            # An end is told by an empty answer, for which the broker waits so long.
            "fetch.wait.max.ms": 50,
            "queued.max.messages.kbytes": 16_384,
            "error_cb": self._heard.on_error,
        }
        try:
            self._consumer = Consumer(config)
        except (KafkaException, ValueError) as error:
            raise ConfigurationError(f"the kafka settings cannot be used: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Read no more."""
        self._consumer.close()
        if self._schemas:
            self._schemas.close()

    def _fault(self, error: KafkaException | KafkaError, needed: Grant | None = None) -> Exception:
        return self._heard.error or explain(error, self._servers, needed)

    def places(self, *topics: str, to: Operation = Operation.READ) -> list[Place]:
        """All partitions of these topics; NotAllowed where we may not do this with one."""
        try:
            known = self._consumer.list_topics(timeout=WAIT_S).topics
        except KafkaException as error:
            raise self._fault(error) from None
        for topic in topics:
            if topic not in known:
                raise self._missing(topic, to)
        return [(topic, number) for topic in topics for number in sorted(known[topic].partitions)]

    def _missing(self, topic: str, to: Operation) -> Exception:
        """Why it is not among all those that we see: asked for by its name it may be denied."""
        try:
            error = self._consumer.list_topics(topic, WAIT_S).topics[topic].error
        except KafkaException as failed:
            return self._fault(failed)
        if error and is_denial(error):
            return self._fault(error, on_topic(to, topic))
        return NotFound(f"there is no topic {topic}; run `modelmora topics create`")

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

    def starts(self, places: Iterable[Place], start: Start) -> dict[Place, int]:
        """Where reading begins, as offsets of now: nothing that comes from now on is missed."""
        wanted = list(places)
        if start == "latest":
            return self.ends(wanted)
        found = self.since(wanted, None if start == "earliest" else int(start))
        late = [place for place, at in found.items() if at == OFFSET_END]
        return found | self.ends(late)

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

    def read(
        self, starts: Mapping[Place, int], until: Mapping[Place, int] = MappingProxyType({})
    ) -> Iterator[Record]:
        """All records from `starts` on that are there now; in order within a partition.

        Of a partition that `until` names, only those before that offset.
        """
        ends = self.ends(place for place, start in starts.items() if start != OFFSET_END)
        ends = {place: min(end, until.get(place, end)) for place, end in ends.items()}
        ends = {place: end for place, end in ends.items() if starts[place] < end}
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
                    raise self._unread(message)
            if time.monotonic() - quiet_since > WAIT_S:
                raise Unreachable(f"the broker at {self._servers} stopped answering; try again")

    def follow(self, starts: Mapping[Place, int]) -> Iterator[Record | None]:
        """Records from `starts` on, for ever; None now and then while there are none.

        Of a topic whose partitions are all named, those that are added are read too.
        """
        self._assign(starts)
        known = dict.fromkeys((topic for topic, _ in starts), 0)
        for topic, number in starts:
            known[topic] = max(known[topic], number + 1)
        whole = all((topic, n) in starts for topic, count in known.items() for n in range(count))
        looked = time.monotonic()
        while True:
            yield from self._coming()
            if whole and time.monotonic() - looked > LOOK_S:
                self._widen(known)
                looked = time.monotonic()

    def follow_as_group(self, topic: str, start: Start) -> Iterator[Record | None]:
        """The same as a member of the group, from what it has committed, else from `start`.

        A record is committed once the next is asked for, so none is missed and some may come twice.
        """
        begun = self.starts(self.places(topic), start)

        def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            found = self._patiently(lambda: consumer.committed(partitions, WAIT_S))
            fresh = [each for each in found if each.offset < 0]
            for each in fresh:
                place = (topic, each.partition)
                at = begun.get(place, OFFSET_BEGINNING)
                # One that was added since is read whole.
                each.offset = self.bounds(place)[0] if at == OFFSET_BEGINNING else at
            consumer.assign(found)
            # Where reading begins counts as done: who comes back by `latest` would miss the rest.
            consumer.store_offsets(offsets=fresh)

        self._consumer.subscribe([topic], on_assign=on_assign)
        return self._as_member()

    def _as_member(self) -> Iterator[Record | None]:
        while True:
            for record in self._coming():
                yield record
                if record:
                    self._done(record)

    def _coming(self) -> Iterator[Record | None]:
        # One by one: a batch is handed over only when it is full or time is up.
        messages = self._poll(1)
        if not messages:
            yield None
        for message in messages:
            if not (fault := message.error()):
                yield self._record(message)
            elif fault.code() not in PASSING:
                raise self._unread(message)

    def _unread(self, message: Any) -> Exception:
        error, topic = message.error(), message.topic()
        if error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
            return self._fault(error, on_topic(Operation.READ, topic))
        joins = self._group != reader_group(self._settings)
        needed = Operation.READ if joins else Operation.DESCRIBE
        return self._fault(error, on_group(needed, self._group))

    def _widen(self, known: dict[str, int]) -> None:
        """Read partitions that were added, from their beginning."""
        with suppress(KafkaException):
            topics = self._consumer.list_topics(timeout=1.0).topics
            added = [
                TopicPartition(topic, number, OFFSET_BEGINNING)
                for topic, count in known.items()
                if topic in topics
                for number in topics[topic].partitions
                if number >= count
            ]
            if added:
                self._consumer.incremental_assign(added)
            for each in added:
                known[each.topic] = max(known[each.topic], each.partition + 1)

    def _done(self, record: Record) -> None:
        with suppress(KafkaException):  # the partition is another member's by now
            at = TopicPartition(record.topic, record.partition, record.offset + 1)
            self._consumer.store_offsets(offsets=[at])

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
        return replace(record, translated=self.translated(record))

    def translated(self, record: Record) -> bytes | None:
        """The value in single-object encoding, where it lies there otherwise and can be read."""
        value = record.value
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
        headers=tuple(headers_of(message) or ()),
    )
