"""Where a record was first appended, though a node may have written it anew since."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from modelmora.messages import Source
from modelmora.messages.headers import HANDED_ON

_HANDED_ON = re.compile(
    rb"(\d{1,3}) (\d{1,9}) (\d{1,18}) (\d{1,15}) ([\w.-]{1,249}) (\d{1,3})", re.ASCII
)


class Placed(Protocol):
    """A record as it lies on the broker."""

    @property
    def topic(self) -> str:
        """Its topic."""

    @property
    def partition(self) -> int:
        """Its partition."""

    @property
    def offset(self) -> int:
        """Its place there."""

    @property
    def timestamp(self) -> int:
        """Unix ms, by the broker's clock."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """All of them, in order."""


class HandedOn(NamedTuple):
    """What a node says of a request that it writes to where it is to be read again.

    How often another node was meant; where and when (Unix ms) the request was first appended; how
    often it was put off after a failure.
    """

    hops: int
    partition: int
    offset: int
    timestamp: int
    topic: str
    retries: int = 0

    @classmethod
    def read(cls, value: bytes | None) -> HandedOn | None:
        """The header's value; None for any that no node writes."""
        found = _HANDED_ON.fullmatch(value) if value else None
        if found is None:
            return None
        hops, partition, offset, timestamp, topic, retries = found.groups()
        place = int(partition), int(offset), int(timestamp), topic.decode()
        return cls(int(hops), *place, int(retries))

    def header(self) -> tuple[str, bytes]:
        """The header."""
        return HANDED_ON, " ".join(map(str, self)).encode()


def first_place(record: Placed) -> tuple[Source, int]:
    """Where and when (Unix ms) a record was first appended, which may have been handed on."""
    first = HandedOn.read(dict(record.headers).get(HANDED_ON)) or record
    return Source(first.topic, first.partition, first.offset), first.timestamp
