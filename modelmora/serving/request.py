"""A request as it came from its topic, and whom its outcome is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from modelmora.errors import RequestError
from modelmora.messages import EventKind, Lane, Parameter, RequestHead, Source, Timings
from modelmora.messages.headers import LIVE, MADE, READ_AT, REPLY_PARTITION
from modelmora.scheduling import ModelKey, Position
from modelmora.wire import SKEW_MS, readable_request_id, time_of
from modelmora.wire.handed import HandedOn, Placed, first_place
from modelmora.wire.plainjson import is_json, json_request_id
from modelmora.workers import NOTHING_TOLD, Chunk, Told

ROUTE = "route"
"""The setting in which an outcome says why this version of several has answered."""
_READ_AT = re.compile(rb"(\d{1,9}) (\d{1,18}) ([\w.-]{1,249})", re.ASCII)


class Record(Placed, Protocol):
    """A record as the Kafka client hands it over."""

    topic: str
    partition: int
    epoch: int
    """Of its partition here, new with each assignment."""
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class CopyOf(NamedTuple):
    """Of a copy of a request: the request's own id, and the comparison that it is made for."""

    request_id: str
    comparison: str
    proved: bool
    """Whether a node has made it, as far as that is asked for."""

    @property
    def is_live(self) -> bool:
        """Whether it was made, as a route says, when the request came."""
        return self.comparison == LIVE and self.proved


@dataclass(slots=True, eq=False)
class Incoming:
    """A decoded request with its record, which its outcome needs once more."""

    record: Record
    head: RequestHead
    lane: Lane
    principal: str = "local"
    """Whose it is, as far as that is proved where proofs are asked for."""
    forged: bool = False
    """Whether it is signed, and not as it is."""
    gateway: str = ""
    """Which gateway has written it; "" where none has."""
    content: str = ""
    """What is asked, see `wire.content_digest`."""
    asked_since: int | None = None
    """Its id was asked at no time before this (Unix ms), as its sender has seen."""
    traceparent: str = ""
    tell: bool = False
    """Whether it is told that it was accepted."""
    or_busy: bool = False
    """Whether it would rather be refused at once than expire in the line."""
    unsaid: Callable[[], None] | None = None
    """Tells that it was accepted, while that is still to be told."""
    job: bool = False
    """Whether nobody waits for it, but may ask how it stands."""
    settings: Mapping[str, Parameter] | None = None
    """What it runs with: its parameters over the model's defaults; None until it is admitted."""
    ended: bool = False
    """Whether its outcome is on its way."""
    standing: Position | None = None
    """What was last told of its place in the line."""
    value: bytes | None = None
    """The record's value in single-object encoding, where it came in another."""
    handed_on: HandedOn | None = None
    """Where it comes from, if not from its sender."""
    told: Told = NOTHING_TOLD
    """What was told of its outputs before it had an outcome."""
    run: int = 1
    """Which run of its id it is: above 1 where a dead letter was replayed."""
    answered_by: str = ""
    """The version that a former run of its id has ended with; "" where there was none."""
    route: str = ""
    """Why this version of several answers it; "" where only one can."""
    copy: CopyOf | None = None
    """Of what it is a copy, for which nobody waits; None: it is none."""
    batch: str = ""
    """The `traceparent` of the batch in which it runs, where spans are made of it."""
    begun_ms: int | None = None
    """When a copy was let in (Unix ms): it may lie for long before."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """What the engine is given: the defaults too. Equal throughout a group."""
        return self.head.parameters if self.settings is None else self.settings

    def used(self, settings: Mapping[str, Parameter]) -> Mapping[str, Parameter]:
        """What its outcome says it ran with: the settings, and the route by which."""
        return {**settings, ROUTE: self.route} if self.route else settings

    @property
    def source(self) -> Source:
        """Where it was first appended."""
        first = self.handed_on or self.record
        return Source(first.topic, first.partition, first.offset)

    @property
    def asked_ms(self) -> int:
        """When it was first appended, by the broker's clock (Unix ms); of a copy when it began."""
        if self.begun_ms is not None:
            return self.begun_ms
        # Who forges the header gains no time by it.
        stamp = self.record.timestamp
        return min(self.handed_on.timestamp, stamp) if self.handed_on else stamp

    @property
    def request_id(self) -> str:
        """Its id."""
        return self.head.request_id

    @property
    def given(self) -> Mapping[str, Parameter]:
        """The parameters that it sets itself."""
        return self.head.parameters

    @property
    def made_ms(self) -> int:
        """When it was made (Unix ms): the same however often, and by whom, it is read.

        (1) The time in its id, unless that is still to come.
        (2) Else when it was first appended, by the broker's clock; of a replay its dead letter
            knows that.
        """
        made_ms, asked_ms = time_of(self.head.request_id), self.asked_ms
        # (1)
        if made_ms is not None and made_ms <= asked_ms + SKEW_MS:
            return made_ms
        # (2)
        told = self.header(MADE) or ""
        known = told.isascii() and told.isdecimal() and len(told) < 16
        return min(int(told), asked_ms) if known else asked_ms

    def header(self, name: str) -> str | None:
        """What a header of its record says, at most 256 characters; None where there is none."""
        for each, value in self.record.headers:
            if each == name:
                return (value or b"").decode("utf-8", "replace")[:256]
        return None

    @property
    def retries(self) -> int:
        """How often it was put off after a failure."""
        return self.handed_on.retries if self.handed_on else 0

    def to_hand_on(self, *, hops: int = 0, retries: int = 0) -> HandedOn:
        """What is to be said of it where it is handed on, so much more often than before."""
        source, before = self.source, self.handed_on.hops if self.handed_on else 0
        place = source.partition, source.offset, self.asked_ms, source.topic
        return HandedOn(before + hops, *place, self.retries + retries)


def request_id_of(record: Record, plain: bytes | None) -> str:
    """The id of a record whose value in single-object encoding is `plain`; "" if unreadable."""
    if not plain:
        return ""
    if is_json(plain, record.headers):
        return json_request_id(plain, record.headers, *first_place(record))
    return readable_request_id(plain)


def read_at(record: Placed) -> tuple[str, bytes]:
    """The header that says where something was read which now lies elsewhere, or its outcome."""
    return READ_AT, f"{record.partition} {record.offset} {record.topic}".encode()


def place_read(headers: Sequence[tuple[str, bytes | None]]) -> Source | None:
    """What that header says; None where there is none."""
    value = next((value for name, value in headers if name == READ_AT), None)
    found = _READ_AT.fullmatch(value) if value else None
    return Source(found[3].decode(), int(found[1]), int(found[2])) if found else None


def reply_partition(record: Record) -> int | None:
    """The partition on which the sender reads the outcome, where its header says so."""
    for name, value in record.headers:
        if name == REPLY_PARTITION and value and len(value) < 10 and value.isdigit():
            return int(value)
    return None


class Outcomes(Protocol):
    """What the service tells the world. Nothing here blocks or raises."""

    def completed(
        self,
        request: Incoming,
        model: ModelKey,
        outputs: bytes,
        settings: Mapping[str, Parameter],
        timings: Timings,
        attempt: int,
    ) -> None:
        """The one outcome: the model's outputs, encoded."""

    def failed(
        self,
        request: Incoming,
        model: ModelKey,
        error: RequestError,
        timings: Timings,
        attempt: int,
        exit_code: int | None = None,
    ) -> None:
        """The one outcome: there is no result, for this reason."""

    def accepted(self, request: Incoming, model: ModelKey, position: Position) -> None:
        """It waits its turn; told again as the line moves."""

    def started(self, request: Incoming, model: ModelKey) -> None:
        """Its worker has begun."""

    def progressed(self, request: Incoming, model: ModelKey, chunk: Chunk, attempt: int) -> None:
        """It has more of its output, or has come so many steps further."""

    def event(self, kind: EventKind, model: ModelKey, facts: Mapping[str, Parameter]) -> None:
        """Something happened to a model."""
