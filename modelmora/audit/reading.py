"""What lies on `audit`, and what `events` says of it, for a person who looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from modelmora.audit.anchors import Anchor, anchor_of
from modelmora.audit.verifying import Line, Report, verify
from modelmora.errors import Undecodable
from modelmora.kafka.reading.newest import Key, Newest, Page, key_of, page
from modelmora.kafka.reading.reader import Reader, Record
from modelmora.kafka.topics import Topic
from modelmora.messages import AuditEvent, Decision, EventKind
from modelmora.messages.headers import SIGNATURE
from modelmora.settings import Settings
from modelmora.text import iso
from modelmora.wire import decode_audit, decode_event

TYPE = "ce_type"


def line_of(record: Record) -> Line:
    """A record as it is verified."""
    signature = next((value for name, value in record.headers if name == SIGNATURE), None)
    return Line(record.place, record.partition, record.offset, record.plain, signature or b"")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: of a principal, a verb, a model by its name, of this decision."""

    principal: str | None = None
    verb: str | None = None
    model: str | None = None
    decision: Decision | None = None

    def takes(self, event: AuditEvent) -> bool:
        """Whether it is one of them."""
        name = self.model and self.model.partition("@")[0]
        return (
            self.principal in (None, event.principal)
            and self.verb in (None, event.verb)
            and (name is None or (event.model or "").partition("@")[0] == name)
            and self.decision in (None, event.decision)
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of the audit, and its place as topic:partition:offset."""

    place: str
    event: AuditEvent

    def as_json(self) -> dict[str, Any]:
        """All of it but what verifies it."""
        event = self.event
        return {
            "place": self.place,
            "at": event.time,
            "time": iso(event.time),
            "writer": event.writer,
            "sequence": event.sequence,
            "principal": event.principal,
            "verb": event.verb,
            "model": event.model,
            "decision": event.decision.value,
            "reason": event.reason,
            "request_id": event.request_id,
        }


def entries_in(
    records: Iterable[Record], wanted: Wanted, unread: Callable[[str], None]
) -> Iterator[tuple[Record, Entry]]:
    """Those that are wanted; `unread` is told the place of what is no record of the audit."""
    for record in records:
        try:
            event = decode_audit(record.plain)
        except Undecodable:
            unread(record.place)
            continue
        if wanted.takes(event):
            yield record, Entry(record.place, event)


def newest(
    settings: Settings,
    reader: Reader,
    limit: int,
    wanted: Wanted,
    since: int | None = None,
    before: Key | None = None,
) -> Page[Entry]:
    """The newest that are wanted and were written `since` (Unix ms), from `before` on back.

    Raises Unreachable, WrongCredentials, NotFound.
    """
    places = reader.places(Topic.AUDIT.full(settings.namespace))

    def take(record: Record, found: Newest[Entry]) -> None:
        for _, entry in entries_in((record,), wanted, lambda _: None):
            if record.timestamp >= (since or 0):
                found.take(key_of(record), entry)

    return page(reader, places, limit, take, since=since, before=before)


def anchors_in(records: Iterable[Record]) -> Iterator[Anchor]:
    """The heads that are told among events."""
    for record in records:
        if record.header(TYPE) == f"modelmora.{EventKind.AUDITED}":
            with suppress(Undecodable):
                if anchor := anchor_of(decode_event(record.plain)):
                    yield anchor


def verified(settings: Settings, reader: Reader) -> Report:
    """What there is now, verified. Raises Unreachable, WrongCredentials, NotFound.

    What `events` says is read first: a head that is told later speaks of what comes later.
    """
    events = reader.places(Topic.EVENTS.full(settings.namespace))
    anchors = [*anchors_in(reader.read(reader.since(events, None)))]
    places = reader.places(Topic.AUDIT.full(settings.namespace))
    kept_from = {number: reader.bounds((topic, number))[0] for topic, number in places}
    lines = map(line_of, reader.read(reader.since(places, None)))
    return verify(lines, anchors, kept_from, settings.audit.trusted)
