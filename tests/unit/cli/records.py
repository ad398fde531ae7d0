"""Records as they lie on topics, made by hand."""

from __future__ import annotations

from modelmora.kafka.reading.reader import Record


def record(
    topic: str,
    value: bytes | None,
    headers: dict[str, str] | None = None,
    *,
    place: tuple[int, int] = (0, 0),
    key: bytes | None = b"key",
) -> Record:
    """A record with text headers."""
    encoded = tuple((name, text.encode()) for name, text in (headers or {}).items())
    return Record(topic, *place, 1_700_000_000_000, key, value, encoded)
