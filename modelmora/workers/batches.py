"""What a group's batches were like, counted by the child and told once, when the group is done."""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass, field

from modelmora.messages import BATCH_ROWS
from modelmora.workers.protocol import Kind, ProtocolError, frame

_BODY = struct.Struct(f"<QQQQ{len(BATCH_ROWS) + 1}I")
_MOST = (1 << 32) - 1, (1 << 63) - 1
"""What a counter and a sum of a frame hold."""


@dataclass(slots=True)
class Batches:
    """So many batches of so many rows each.

    `cost` is the sum of their rows' costs, in the engine's unit (tokens for text), and `padded`
    what it is with each row as long as the longest of its batch. Both are 0 where nothing is padded
    to a batch's width.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BATCH_ROWS) + 1))
    """By `BATCH_ROWS`, not cumulative; the last is of larger ones."""
    rows: int = 0
    cost: int = 0
    padded: int = 0

    def add(self, rows: int, cost: int = 0, padded: int = 0) -> None:
        """One more was computed."""
        self.counts[bisect_left(BATCH_ROWS, rows)] += 1
        self.rows += rows
        self.cost += cost
        self.padded += padded

    def __bool__(self) -> bool:
        return any(self.counts)


def encode_batches(group: int, told: Batches) -> bytes:
    """A BATCHES frame."""
    counts = (min(each, _MOST[0]) for each in told.counts)
    sums = (min(each, _MOST[1]) for each in (told.rows, told.cost, told.padded))
    return frame(Kind.BATCHES, _BODY.pack(group, *sums, *counts))


def decode_batches(body: memoryview) -> tuple[int, Batches]:
    """The group, and what its batches were like. Raises ProtocolError where that cannot be."""
    if len(body) != _BODY.size:
        raise ProtocolError(f"a BATCHES body of {len(body)} bytes, not {_BODY.size}")
    group, rows, cost, padded, *counts = _BODY.unpack(body)
    if not sum(counts) <= rows <= _MOST[1] or not cost <= padded <= _MOST[1]:
        raise ProtocolError("batches that cannot be")
    return group, Batches(counts, rows, cost, padded)
