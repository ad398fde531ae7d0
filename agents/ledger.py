"""The offset ledger: which offsets have their outcome, and so how far it is safe to commit.

The committed offset of a partition is its first offset without an acknowledged outcome (invariant
I2). Offsets finished above it travel in the commit's metadata, so that a restart repeats almost
nothing: prefix `mm1:`, then base85 of a zlib-compressed bitmap whose bit i stands for the committed
offset + i. The broker refuses metadata over 4,096 bytes; a longer bitmap is left out.
"""

from __future__ import annotations

import base64
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

Partition = tuple[str, int]
"""(topic, number)."""
PREFIX = "mm1:"
METADATA_BYTES = 4096
_BITMAP_BYTES = 1 << 20  # of a bitmap read back: far beyond what 4,096 bytes can honestly hold


class Commit(NamedTuple):
    """What to commit for one partition."""

    offset: int
    metadata: str


@dataclass(slots=True, eq=False)
class PartitionLedger:
    """The offsets of one partition, begun in order and finished in any order."""

    next_offset: int | None = None
    """The lowest offset not begun; None before the first."""
    open_bytes: int = 0
    _begun: deque[int] = field(default_factory=deque)
    _open: dict[int, int] = field(default_factory=dict)
    _skip: set[int] = field(default_factory=set)
    _running: set[int] = field(default_factory=set)
    _dropped: set[int] = field(default_factory=set)
    _committed: Commit | None = None
    _asked: Commit | None = None
    _changed: bool = False

    def restore(
        self,
        offset: int,
        metadata: str,
        running: Iterable[int] = (),
        finished: Iterable[int] = (),
    ) -> None:
        """Take over what was committed.

        `running` and `finished` are offsets that this node went on with, or ended, through a
        rebalance: they will be read again and must not run twice.
        """
        self.next_offset = offset
        self._committed = self._asked = Commit(offset, metadata)
        self._skip = set(finished_in(offset, metadata))
        self._skip.update(each for each in finished if each >= offset)
        # What another node has ended meanwhile is owed no more.
        self._running = {each for each in running if each >= offset} - self._skip

    def begin(self, offset: int, size: int) -> bool:
        """Enter an offset (size in bytes). False: it is in flight here, or was finished before."""
        if self.next_offset is not None and offset < self.next_offset:
            return False
        self.next_offset = offset + 1
        self._begun.append(offset)
        if offset in self._skip:
            self._skip.discard(offset)
            self._sweep()
            return False
        self._open[offset] = size
        self.open_bytes += size
        if offset in self._running:
            self._running.discard(offset)
            return False
        return True

    def done(self, offset: int) -> None:
        """The offset's outcome has been acknowledged by the broker."""
        size = self._open.pop(offset, None)
        if size is not None:
            self.open_bytes -= size
            self._sweep()
        elif offset in self._running:
            self._running.discard(offset)
            self._skip.add(offset)

    def is_open(self, offset: int) -> bool:
        """Whether the offset still owes its outcome here."""
        return offset in self._open or offset in self._running

    def drop(self, offset: int) -> None:
        """Nobody here works on the offset any more; it stays open, so no commit passes it."""
        self._dropped.add(offset)

    def running(self) -> tuple[int, ...]:
        """The offsets whose outcome is on its way here."""
        return tuple(each for each in (*self._open, *self._running) if each not in self._dropped)

    def finished(self) -> Iterator[int]:
        """The offsets that have their outcome, from the last commit on."""
        if self._committed is not None and self.next_offset is not None:
            yield from range(self._committed.offset, self._reached(self.next_offset))
        yield from self._above()

    def _reached(self, next_offset: int) -> int:
        return self._begun[0] if self._begun else next_offset

    def _above(self) -> Iterator[int]:
        yield from (each for each in self._begun if each not in self._open)
        # Finished before a restart and not read again yet: a commit must not forget them.
        yield from self._skip

    @property
    def open_count(self) -> int:
        """How many offsets owe their outcome."""
        return len(self._open)

    def to_commit(self) -> Commit | None:
        """What to commit now, or None when that has been committed already."""
        is_told = not self._changed and self._asked is self._committed
        if is_told or self.next_offset is None:
            return None
        offset = self._reached(self.next_offset)
        finished = (each for each in self._above() if each >= offset)
        commit = Commit(offset, metadata_of(offset, finished))
        self._changed = False
        self._asked = self._committed if commit == self._committed else commit
        return None if self._asked is self._committed else commit

    def committed(self, commit: Commit) -> None:
        """The broker has taken the commit."""
        self._committed = commit

    def _sweep(self) -> None:
        self._changed = True
        begun, still_open = self._begun, self._open
        while begun and begun[0] not in still_open:
            begun.popleft()


class Ledger:
    """The ledgers of all partitions this node owns."""

    def __init__(self) -> None:
        self._partitions: dict[Partition, PartitionLedger] = {}

    def __getitem__(self, partition: Partition) -> PartitionLedger:
        return self._partitions[partition]

    def get(self, partition: Partition) -> PartitionLedger | None:
        """The partition's ledger, or None when it is not owned."""
        return self._partitions.get(partition)

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._partitions)

    def own(self, partition: Partition) -> PartitionLedger:
        """The partition's ledger, new if it was not owned."""
        return self._partitions.setdefault(partition, PartitionLedger())


def metadata_of(offset: int, finished: Iterable[int]) -> str:
    """The finished offsets above a committed one as commit metadata; "" for none or too many."""
    bits = bytearray()
    for each in finished:
        place = each - offset
        if place >> 3 >= len(bits):
            bits.extend(bytes((place >> 3) + 1 - len(bits)))
        bits[place >> 3] |= 1 << (place & 7)
    if not bits:
        return ""
    text = PREFIX + base64.b85encode(zlib.compress(bytes(bits), 6)).decode()
    return text if len(text) <= METADATA_BYTES else ""


def finished_in(offset: int, metadata: str) -> Iterable[int]:
    """The offsets in commit metadata; none for metadata that is not ours or is damaged."""
    if not metadata.startswith(PREFIX):
        return ()
    try:
        packed = base64.b85decode(metadata[len(PREFIX) :])
        bits = zlib.decompressobj().decompress(packed, _BITMAP_BYTES)
    except (ValueError, zlib.error):
        return ()
    return (offset + place for place in range(len(bits) * 8) if bits[place >> 3] >> (place & 7) & 1)
