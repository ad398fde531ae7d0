"""Confluent's wire format beside single-object encoding: the same Avro bytes behind another header.

Confluent, "Schema Registry wire format": a zero byte, the schema's id as 4 bytes big-endian, then
the Avro bytes of the value. Single-object encoding begins with C3, so one byte tells them apart.
"""

from __future__ import annotations

from modelmora.wire.codec import HEADER
from modelmora.wire.flat import renewed

MARK = b"\x00"
PREFIX = 5


def prefix_of(schema_id: int) -> bytes:
    """What a value under this id begins with."""
    return MARK + schema_id.to_bytes(4, "big")


def id_of(value: bytes) -> int:
    """The schema id of a value in Confluent's wire format."""
    return int.from_bytes(value[1:PREFIX], "big")


def is_framed(value: bytes | None) -> bool:
    """Whether a value claims to be in Confluent's wire format."""
    return value is not None and value[:1] == MARK and len(value) >= PREFIX


class Framing:
    """Which pinned schema an id of a registry stands for, and under which id each topic is written.

    Two small tables and no more: who asks the registry fills them.
    """

    def __init__(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._topics: dict[str, tuple[bytes, bytes]] = {}

    def learn(self, schema_id: int, header: bytes) -> None:
        """The id stands for the pinned schema with this single-object header."""
        self._headers[prefix_of(schema_id)] = header

    def write(self, topic: str, schema_id: int, header: bytes) -> None:
        """Values of the topic with this header are written under the id."""
        self._topics[topic] = (header, prefix_of(schema_id))

    def plain(self, value: bytes) -> bytes | None:
        """The value in single-object encoding, itself where it is no Confluent's; None: unknown id.

        Whether the schema is the right one for its topic is for the codec to say.
        """
        if not is_framed(value):
            return value
        header = self._headers.get(value[:PREFIX])
        return None if header is None else header + value[PREFIX:]

    def framed(self, topic: str, value: bytes | None) -> bytes | None:
        """The value as it is written to the topic; as it is where the topic has no id for it."""
        own = self._topics.get(topic)
        if own is None or value is None:
            return value
        header, prefix = own
        if value[:HEADER] != header:
            value = renewed(value, header)
        return prefix + value[HEADER:] if value[:HEADER] == header else value
