"""What lies on `audit`, and what `events` says of it, for a person who looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from modelmora.audit.anchors import Anchor, anchor_of
from modelmora.audit.verifying import Line, Report, verify
from modelmora.errors import Undecodable
from modelmora.kafka.reading.reader import Reader, Record
from modelmora.kafka.topics import Topic
from modelmora.messages import EventKind
from modelmora.messages.headers import SIGNATURE
from modelmora.settings import Settings
from modelmora.wire import decode_event

TYPE = "ce_type"


def line_of(record: Record) -> Line:
    """A record as it is verified."""
    signature = next((value for name, value in record.headers if name == SIGNATURE), None)
    return Line(record.place, record.partition, record.offset, record.plain, signature or b"")


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
