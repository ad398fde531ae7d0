"""Request ids, their runs and partitions: UUIDv7 (RFC 9562), Kafka's murmur2 partitioner."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import uuid
from collections.abc import Container, Iterable
from struct import unpack_from

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_U32, _POSITIVE = 0xFFFFFFFF, 0x7FFFFFFF
_PLAIN_V7 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SHADOWS = uuid.UUID("6f1d3a52-5b0e-4c7e-9a41-7d0c2f6be183")
MOST_RUNS = (1 << 31) - 1
NEAR_MS = 60_000
"""A request that is appended within this of the time in its id is taken for the id's first."""
SKEW_MS = 2_000
"""How far the clock that made an id may be ahead of the broker's for its time to count."""


def murmur2(data: bytes) -> int:
    """Austin Appleby's MurmurHash2, seeded as Kafka's Java client does, as an unsigned 32-bit int.

    Whole words are unpacked at once: this runs for every result, and aiokafka's own version,
    byte by byte, takes twice the time.
    """
    words = len(data) >> 2
    value = _taken(_SEED ^ len(data), unpack_from(f"<{words}I", data))
    if rest := data[words << 2 :]:
        value = (value ^ int.from_bytes(rest, "little")) * _MIX & _U32
    return _ended(value)


def _taken(value: int, words: Iterable[int]) -> int:
    for word in words:
        mixed = word * _MIX & _U32
        mixed = (mixed ^ mixed >> 24) * _MIX & _U32
        value = (value * _MIX & _U32) ^ mixed
    return value


def _ended(value: int) -> int:
    value = (value ^ value >> 13) * _MIX & _U32
    return value ^ value >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that the Java client's default partitioner gives to a key."""
    return (murmur2(key) & _POSITIVE) % partitions


def place_of(model: str, request_id: str, spread: int, partitions: int) -> int:
    """The partition of a lane for a request of a model that is spread over so many: one for an id.

    The upper half of the id's hash decides, for gateways make ids whose lower bits fit their own
    partitions of `results`.
    """
    places = places_of(model, spread, partitions)
    return places[((murmur2(request_id.encode()) & _POSITIVE) >> 16) % len(places)]


def places_of(model: str, spread: int, partitions: int) -> tuple[int, ...]:
    """The partitions of a lane on which a model's requests lie: from that of its name on.

    As far apart as can be, for a node has partitions that follow on each other.
    """
    first, most = partition_of(model.encode(), partitions), min(spread, partitions)
    return tuple((first + turn * partitions // most) % partitions for turn in range(most))


def new_request_id(partitions: int = 1, mine: Container[int] = range(1)) -> str:
    """A UUIDv7 whose partition (of `partitions`) is one of `mine`.

    Only the last 16 random bits vary until it fits: they are the last word that is hashed, so the
    others are hashed once.
    """
    number = _uuid7(time.time_ns() // 1_000_000, secrets.randbits(80))
    name = str(uuid.UUID(int=number))
    if partitions == 1:
        return name
    head, tail = name[:-4], number & 0xFFFF
    taken = _taken(_SEED ^ len(name), unpack_from("<8I", head.encode()))
    while True:
        end = f"{tail:04x}"
        value = _ended(_taken(taken, (int.from_bytes(end.encode(), "little"),)))
        if (value & _POSITIVE) % partitions in mine:
            return head + end
        tail = (tail + 1) & 0xFFFF


def id_of_place(topic: str, partition: int, offset: int, timestamp: int) -> str:
    """The id of a record that brings none: a UUIDv7 of its time (Unix ms) and place.

    The same record has the same id whoever reads it, and however often.
    """
    return id_of_name(f"{topic} {partition} {offset} {timestamp}", timestamp)


def id_of_name(name: str, milliseconds: int) -> str:
    """The UUIDv7 of that time (Unix ms) that stands for a name: always the same."""
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:10])
    return str(uuid.UUID(int=_uuid7(milliseconds, digest)))


def shadow_id(request_id: str, version: str) -> str:
    """The id of the copy of a request for a version: a UUIDv5, always the same for both."""
    return str(uuid.uuid5(_SHADOWS, f"{version} {request_id}"))


def _uuid7(milliseconds: int, low: int) -> int:
    """A UUIDv7 (RFC 9562, 5.7) of that time and 80 bits, of which 6 are given to its kind."""
    number = (milliseconds & (1 << 48) - 1) << 80 | low
    number = number & ~(0xF << 76) | 0x7 << 76
    return number & ~(0x3 << 62) | 0x2 << 62


def read_run(value: bytes | None) -> int:
    """The run that a request's header names: 1 without one, and for any that no replay writes."""
    if value is None or len(value) > 10 or not value.isdigit():
        return 1
    run = int(value)
    return run if 0 < run <= MOST_RUNS else 1


def time_of(request_id: str) -> int | None:
    """Unix milliseconds in a UUIDv7; None for any other id."""
    if _PLAIN_V7.fullmatch(request_id):  # as nearly all are written, in a third of the time
        return int(request_id[:8] + request_id[9:13], 16)
    try:
        parsed = uuid.UUID(request_id)
    except ValueError:
        return None
    return parsed.int >> 80 if parsed.version == 7 else None
