"""Dead letters as a person looks for them, and the records they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modelmora.cli.output import iso
from modelmora.diagnostics.reader import Reader, Record
from modelmora.errors import ConfigurationError, NotFound
from modelmora.kafka.topics import Topic
from modelmora.settings import Settings
from modelmora.wire import readable_request_id

CONNECT = "__connect.errors."
CODE = "modelmora-error-code"
ATTEMPT = "modelmora-attempt"
EXIT_CODE = "modelmora-worker-exit-code"
SHA256 = "modelmora-sha256"
SIZE = "modelmora-size"
HANDED_ON = "modelmora-handed-on"
ADDED = {CODE, ATTEMPT, EXIT_CODE, SHA256, SIZE, HANDED_ON}
"""Headers that were put on the original record, beside Kafka Connect's (KIP-298)."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of the dead-letter topic, its context read from its headers."""

    record: Record

    @property
    def request_id(self) -> str:
        """The id in its bytes, "" where none is readable."""
        return readable_request_id(self.record.plain)

    @property
    def code(self) -> str:
        """Why it is here."""
        return self.record.header(CODE) or "unknown"

    @property
    def reason(self) -> str:
        """The same in words."""
        return self.record.header(f"{CONNECT}exception.message") or ""

    @property
    def source(self) -> tuple[str, int, int] | None:
        """(topic, partition, offset) of the original record."""
        parts = [self.record.header(CONNECT + name) for name in ("topic", "partition", "offset")]
        topic, partition, offset = parts
        if not topic or not (partition or "").isdecimal() or not (offset or "").isdecimal():
            return None
        return topic, int(partition or 0), int(offset or 0)

    @property
    def source_place(self) -> str:
        """topic:partition:offset of the original record, "" where the headers do not say."""
        return ":".join(str(part) for part in self.source) if self.source else ""

    @property
    def cut(self) -> bool:
        """Whether the topic did not take the record whole, so that only its beginning is here."""
        return self.record.header(SHA256) is not None

    def original_headers(self) -> list[tuple[str, bytes | None]]:
        """The headers that the record had before it came here."""
        return [
            (name, value)
            for name, value in self.record.headers
            if name not in ADDED and not name.startswith(CONNECT)
        ]

    def as_json(self) -> dict[str, Any]:
        """All but the content."""
        record = self.record
        return {
            "place": record.place,
            "time": iso(record.timestamp),
            "request_id": self.request_id or None,
            "code": self.code,
            "reason": self.reason,
            "source": self.source_place or None,
            "attempt": number(record.header(ATTEMPT)),
            "worker_exit_code": number(record.header(EXIT_CODE)),
            "key": record.key.decode("utf-8", "replace") if record.key is not None else None,
            "bytes": number(record.header(SIZE)) or len(record.value or b""),
            "cut": self.cut,
        }


def number(text: str | None) -> int | None:
    """A header that holds a whole number."""
    try:
        return int(text) if text else None
    except ValueError:
        return None


class Letters:
    """The dead letters of a namespace."""

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader = reader
        self._namespace = settings.namespace
        self.topic = Topic.DEAD_LETTERS.full(settings.namespace)

    def newest(self, count: int, code: str | None = None) -> list[DeadLetter]:
        """The last ones by time, oldest first; with a code only those."""
        letters = sorted(
            (found for found in self._read(None if code else count) if code in (None, found.code)),
            key=lambda letter: letter.record.timestamp,
        )
        return letters[-count:] if count else letters

    def find(self, selector: str) -> list[DeadLetter]:
        """Those of one request id, or of one place: the dead letter's own or its source's.

        Raises NotFound where there is none.
        """
        place = place_of(selector, self._namespace)
        if place and place[0] == self.topic:
            record = self._reader.one(*place)
            found = [DeadLetter(record)] if record else []
        elif place:
            found = [letter for letter in self._read(None) if letter.source == place]
        else:
            needle = selector.encode()
            found = [
                letter
                for letter in self._read(None)
                if needle in (letter.record.value or b"") and letter.request_id == selector
            ]
        if not found:
            raise NotFound(f"no dead letter of {selector}; see `modelmora dlq list`")
        return found

    def _read(self, count: int | None) -> Iterator[DeadLetter]:
        places = self._reader.places(self.topic)
        starts = self._reader.newest(places, count) if count else self._reader.since(places, None)
        return (DeadLetter(record) for record in self._reader.read(starts))


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
    if partition.isdecimal() and offset.isdecimal():
        return (f"{namespace}.{topic}" if topic in short else topic), int(partition), int(offset)
    if selector.startswith(topic) and (topic in short or topic.startswith(f"{namespace}.")):
        raise ConfigurationError(f"{selector} must be topic:partition:offset")
    return None
