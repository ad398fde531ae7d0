"""Reading topics for a person: requests in plain JSON are shown as what they mean."""

from __future__ import annotations

from contextlib import suppress

from modelmora.errors import Undecodable
from modelmora.kafka.reading.reader import Reader as PlainReader
from modelmora.kafka.reading.reader import Record
from modelmora.kafka.topics import LANE_TOPICS, TIERS, Topic
from modelmora.wire.handed import first_place
from modelmora.wire.plainjson import encode_json, is_json

_REQUESTS = tuple(
    f".{topic.value}" for topic in (*LANE_TOPICS.values(), *TIERS, Topic.DEAD_LETTERS)
)


class Reader(PlainReader):
    """A reader whose records in JSON are `plain` in single-object encoding too."""

    def translated(self, record: Record) -> bytes | None:
        """The value in single-object encoding, where it lies there otherwise and can be read."""
        value = record.value
        if value and record.topic.endswith(_REQUESTS) and is_json(value, record.headers):
            with suppress(Undecodable):
                return encode_json(value, record.key, record.headers, *first_place(record))
        return super().translated(record)
