"""The offset ledger: which offsets have their outcome, and so how far it is safe to commit.

The committed offset of a partition is its first offset without an acknowledged outcome (invariant
I2). Offsets finished above it travel in the commit's metadata, so that a new owner repeats almost
nothing: `mm2:<since_ms>:<bitmap>`, where `since_ms` is the broker's time (Unix ms) from which on
outcomes may be missing in the bitmap, and the bitmap is base85 of zlib of bytes, the lowest bit of
the first byte being the committed offset rounded down to a multiple of eight; "" is no bit at all.
What is suspected of having ended owners follows it inside the base85 (see `suspects`), where who
does not know of it does not see it.
`:<transactional id>` follows where the commit is part of a transaction: then no outcome is missing.
The id itself is left out where there is no room for it. `mm1:<bitmap>` (bit 0 is the committed
offset itself) is read, and not written any more.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from copy import copy
from typing import NamedTuple

from modelmora.agents.partitions.suspects import Suspects, packed, unpacked

METADATA_BYTES = 4000
"""Of one commit. The broker refuses more than 4,096, and librdkafka adds a NUL."""
WINDOW = 25_000
"""Offsets from the committed one to the highest begun: any bitmap of them fits the metadata."""
_WINDOW_BYTES = WINDOW // 8 + 1
_BITMAP_BYTES = 1 << 17  # read back at most: a million offsets, of nodes that had no window
_PREFIX, _OLD_PREFIX = "mm2:", "mm1:"


class Commit(NamedTuple):
    """What to commit for one partition."""

    offset: int
    metadata: str


class Known(NamedTuple):
    """What commit metadata say."""

    since_ms: int | None = None
    """From when on outcomes may be missing; None where that is not known."""
    finished: tuple[int, ...] = ()
    bearer: str | None = None
    """The transactional id of who committed, perhaps ""; None where it was in no transaction."""
    suspects: Suspects | None = None


class PartitionLedger:
    """The offsets of one partition in one epoch, begun in order and finished in any order.

    An offset from `head` on is done (its bit is set), open (it owes its outcome here), or still
    to be read. Below `next` there is none of the last kind.
    """

    __slots__ = (
        "_astray",
        "_base",
        "_bits",
        "_doubts",
        "_refused",
        "_since_ms",
        "_told",
        "bytes",
        "epoch",
        "full",
        "head",
        "leaving",
        "most_bytes",
        "next",
        "open",
        "rests",
        "suspects",
    )

    def __init__(
        self,
        epoch: int,
        offset: int,
        finished: Iterable[int] = (),
        since_ms: int = 0,
        doubts: Iterable[int] = (),
    ) -> None:
        """`doubts`: offsets that are said elsewhere, since `since_ms`, to be done."""
        self.epoch = epoch
        self.head = self.next = offset
        self.open: dict[int, int] = {}
        """What each open offset costs, in bytes."""
        self.bytes = 0
        self.most_bytes = 0
        """The limit of those, and whether this or another is reached: seen to by the intake."""
        self.full = False
        self.leaving = False
        """It goes to another owner, and gets no more outcomes from here."""
        self.rests = False
        """What comes next is not to be begun yet."""
        self.suspects: Suspects | None = None
        """What may have ended the owners before, until all of it is done."""
        self._base = offset & ~7
        self._bits = bytearray()
        self._refused = 0
        self._since_ms = since_ms
        self._doubts = set(doubts)
        self._astray = self._told = False
        for each in finished:
            if 0 <= each - offset < _BITMAP_BYTES * 8:
                self._mark(each)
        self._advance()

    def follows(self, after: int) -> bool:
        """Whether everything below `after` was taken; if so, reading goes on from there.

        What comes while it leaves is the next owner's: here it would wait for ever.
        """
        if self.leaving or after > self.next:
            return False
        self._astray = False
        return True

    def begin(self, offset: int, cost: int) -> bool:
        """Enter an offset that costs so many bytes (above 0). False: it is not to be run.

        (1) It is in flight or finished, or reading has to go back first.
        (2) Offsets that were passed over are not in the log any more: nobody waits for them.
        (3) It lies beyond the window: reading has to come back to it.
        (4) It was finished before it was read, or came back while in flight.
        """
        # (1)
        if offset < self.next or self._astray:
            return False
        # (2)
        if offset > self.next and not self.open:
            self._jump(offset)
        # (3)
        if offset - self.head >= WINDOW:
            self._refused = offset + 1
            self._go_back()
            return False
        # (2)
        if offset > self.next:
            for each in range(self.next, offset):
                if each not in self.open:
                    self._mark(each)
            self._advance()
        self.next = offset + 1
        # (4)
        if offset in self.open:
            return False
        if self.has(offset):
            self._advance()
            return False
        self.open[offset] = cost
        self.bytes += cost
        return True

    def done(self, offset: int) -> int:
        """The offset's outcome is acknowledged; what it cost, 0 if it was not open."""
        cost = self.open.pop(offset, 0)
        if cost:
            self.bytes -= cost
            if offset == self.head:
                self.head = offset + 1
                self._advance()
            else:
                self._mark(offset)
        return cost

    def shed(self, offset: int) -> int:
        """An open offset has left memory and is to be read again; what it cost, else 0."""
        cost = self.open.pop(offset, 0)
        if cost:
            self.bytes -= cost
            self.next = min(self.next, offset)
            self._refused = 0
            self._go_back()
        return cost

    def has(self, offset: int) -> bool:
        """Whether an offset from the head on is known to be done."""
        place = offset - self._base
        return place >> 3 < len(self._bits) and bool(self._bits[place >> 3] >> (place & 7) & 1)

    def rewind(self) -> int | None:
        """Where reading has to go back to, told once; None: it goes on."""
        if self._told or not self._astray:
            return None
        self._told = True
        return self.next

    @property
    def window(self) -> int:
        """How many offsets the bitmap has to hold, with the one that was refused."""
        return max(self.next, self._refused) - self.head

    def commit_after(self, offsets: Iterable[int], since_ms: int, bearer: str) -> Commit:
        """What the bearer of this transactional id commits together with these outcomes."""
        after = copy(self)
        after._bits = bytearray(self._bits)
        for each in offsets:
            after._mark(each)
        after._advance()
        return after.commit(since_ms, bearer)

    def commit(self, since_ms: int, bearer: str | None = None) -> Commit:
        """What to commit now. `since_ms`: older outcomes than that have all been marked done.

        It never says less than it began with: what is older than that is known, or of a log that
        lay there before.
        """
        self._trim()
        bits, since_ms = self._bits[:_WINDOW_BYTES], max(since_ms, self._since_ms)
        self._doubts = {each for each in self._doubts if each >= self.next or each in self.open}
        if len(self._bits) > _WINDOW_BYTES or self._doubts:
            # Finished by an owner before us, farther than fits, or perhaps handed on: to be looked
            # for as it was then.
            since_ms, bearer = self._since_ms, None
        if bits:
            bits[0] &= 0xFF << (self.head & 7)
        told = packed(self.suspects, self.head, leaves=self.leaving)
        return Commit(self.head, metadata_of(since_ms, bits, bearer, told))

    def stray(self) -> None:
        """Something below what comes next was not taken: reading has to go back."""
        if not self._astray:
            self._go_back()

    def _go_back(self) -> None:
        self._astray, self._told = True, False

    def _mark(self, offset: int) -> None:
        place = offset - self._base
        missing = (place >> 3) + 1 - len(self._bits)
        if missing > 0:
            self._bits.extend(bytes(missing))
        self._bits[place >> 3] |= 1 << (place & 7)

    def _advance(self) -> None:
        bits, place = self._bits, self.head - self._base
        end = len(bits) << 3
        if place >= end:
            return
        while place < end and bits[place >> 3] >> (place & 7) & 1:
            place += 1
        self.head = self._base + place
        self.next = max(self.next, self.head)

    def _jump(self, offset: int) -> None:
        self.head = self.next = offset
        self._trim()
        self._advance()

    def _trim(self) -> None:
        passed = (self.head - self._base) >> 3
        del self._bits[:passed]
        self._base += passed * 8


def metadata_of(
    since_ms: int, bits: bytes | bytearray, bearer: str | None = None, suspects: bytes = b""
) -> str:
    """Commit metadata of a bitmap; any of a whole window fits METADATA_BYTES."""
    bits = bits.rstrip(b"\0")
    told = zlib.compress(bits) + suspects if bits or suspects else b""
    metadata = f"{_PREFIX}{since_ms}:{base64.b85encode(told).decode()}"
    if bearer is None:
        return metadata
    room = METADATA_BYTES - len(metadata) - 1
    return f"{metadata}:{bearer if len(bearer) <= room else ''}"


def read_metadata(offset: int, metadata: str | None) -> Known:
    """What commit metadata say; nothing where they are foreign or damaged."""
    metadata = (metadata or "").rstrip("\0")
    try:
        if metadata.startswith(_OLD_PREFIX):
            finished, _ = _unpacked(offset, metadata[len(_OLD_PREFIX) :], offset)
            return Known(finished=finished)
        if metadata.startswith(_PREFIX):
            since_ms, _, rest = metadata[len(_PREFIX) :].partition(":")
            text, colon, bearer = rest.partition(":")
            if since_ms.isascii() and since_ms.isdigit():
                finished, suspects = _unpacked(offset & ~7, text, offset)
                return Known(int(since_ms), finished, bearer if colon else None, suspects)
    except (ValueError, zlib.error):
        pass
    return Known()


def _unpacked(base: int, text: str, offset: int) -> tuple[tuple[int, ...], Suspects | None]:
    if not text:
        return (), None
    unpacker = zlib.decompressobj()
    bits = unpacker.decompress(base64.b85decode(text), _BITMAP_BYTES)
    if not unpacker.eof:
        raise ValueError("cut short, or more than any node writes")
    places = (place for place in range(len(bits) * 8) if bits[place >> 3] >> (place & 7) & 1)
    finished = tuple(base + place for place in places if base + place >= offset)
    return finished, unpacked(offset, unpacker.unused_data)
