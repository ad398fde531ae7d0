"""What was asked of a model: chosen evenly from the topics of requests, as they lie there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from modelmora.comparing import Sample
from modelmora.errors import Undecodable
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.topics import lane_topics
from modelmora.messages.headers import HANDED_ON
from modelmora.settings import Settings
from modelmora.wire import decode_request_head

MOST_BYTES = 256 << 20
"""Of all requests that are kept to be asked again."""


@dataclass(frozen=True, slots=True)
class Past:
    """A request of the past: its value in single-object encoding."""

    request_id: str
    value: bytes


def asked(
    reader: Reader, settings: Settings, name: str, span: tuple[int, int], count: int
) -> Sample[Past]:
    """At most so many requests for a name, or any version of it, of a time (Unix ms).

    Requests for no name but a task are left out. Raises what Reader does.
    """
    sample = Sample[Past](count, MOST_BYTES)
    places = reader.places(*lane_topics(settings))
    for record in reader.read(reader.since(places, span[0])):
        # What was handed on lies there a second time, behind its first record.
        if record.timestamp >= span[1] or record.header(HANDED_ON) or record.plain is None:
            continue
        with suppress(Undecodable):
            head = decode_request_head(record.plain)
            if head.model.partition("@")[0] == name:
                past = Past(head.request_id, record.plain)
                sample.offer(head.request_id, len(record.plain), past)
    return sample
