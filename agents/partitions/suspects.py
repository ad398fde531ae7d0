"""What the owners of a partition may have died of, as each commit tells it to the next owner.

An owner that leaves says so. Of one that did not, the next can only guess what it had begun: the
more owners die in a row without getting past that, the less is begun at a time, and never before
a commit says what. So what kills is left alone with its partition in the end, and tells on itself.

| deaths  | what is begun                                  | what is suspected behind one more |
|---------|------------------------------------------------|-----------------------------------|
| 0 and 1 | anything                                       | all that lay there                |
| 2       | `WIDTH` at a time, told before                 | those                             |
| 3       | one at a time, told before, and nothing beside | that one, tried once              |
"""

from __future__ import annotations

import struct
from typing import NamedTuple

FREE_DEATHS = 1
"""So many owners may die in a row before less is begun at a time."""
ALONE_DEATHS = 3
WIDTH = 128
"""Records that are begun at a time. All that may lie there, some 25,000, take as many commits as
one at a time of these."""
MOST_TRIES = 2
"""So many owners die of one record that was alone; then it is set aside."""
_FORM = struct.Struct(">BBHHB4s")
_CLEAN, _BEGUN = 1, 2
_MOST = (1 << 16) - 1


class Suspects(NamedTuple):
    """What is suspected of having ended the owners of a partition."""

    deaths: int
    until: int
    """Offsets below are suspected, from the first without an outcome on."""
    mark: int = 0
    """Offsets below may have been begun since; 0: nobody has told."""
    tries: int = 0
    """How many owners have died with the last of those alone."""
    begun: bool = False
    """Whether this owner may have begun what lies below the mark."""
    owner: bytes = b""
    """The process that tells it."""
    clean: bool = False
    """It has left the partition as it is."""

    @property
    def alone(self) -> bool:
        """Whether one at a time is begun, and nothing beside."""
        return self.deaths >= ALONE_DEATHS

    @property
    def careful(self) -> bool:
        """Whether nothing is begun that was not told before."""
        return self.deaths > FREE_DEATHS

    def condemns(self, offset: int) -> bool:
        """Whether the record there has ended so many owners that it is set aside."""
        return self.alone and self.tries >= MOST_TRIES and offset == self.mark - 1

    def wider(self, head: int, offset: int, *, is_first: bool) -> Suspects | None:
        """What is to be told before the record at this offset is begun; None: it has to wait.

        `is_first`: nothing below it is open.
        """
        if self.alone:
            tries = self.tries if self.mark == offset + 1 else 0
            return self._replace(mark=offset + 1, tries=tries, begun=True)
        mark = min((offset if is_first else head) + WIDTH, self.until)
        return self._replace(mark=mark, begun=True) if mark > offset else None


def inherited(
    told: Suspects | None, head: int, end: int, window: int, owner: bytes
) -> Suspects | None:
    """What the next owner suspects, where its predecessor's commit told that.

    `head` is the first offset without an outcome, `end` the end of the log, `window` how far beyond
    its head an owner may have begun anything. None: nothing.

    (1) Nothing lies there that anybody can have begun.
    (2) An owner that left, or that got past what was suspected, is not dead of it.
    (3) One that was us was not dead at all.
    (4) One that had begun nothing died of something else.
    (5) Else it may have died of what it had begun.
    """
    # (1)
    if head >= end:
        return None
    fresh = Suspects(1, min(end, head + window), owner=owner)
    if told is None:
        return fresh
    # (2)
    past = told.deaths == 0 or head >= told.until
    if past:
        return None if told.clean else fresh
    same = told._replace(begun=False, clean=False, owner=owner)
    # (3)
    if told.clean or told.owner == owner:
        return same
    if not told.careful:
        return same._replace(deaths=told.deaths + 1, until=fresh.until)
    # (4)
    if not told.begun or told.mark <= head:
        return same
    # (5)
    if told.alone:
        return same._replace(tries=told.tries + 1)
    return same._replace(deaths=ALONE_DEATHS, until=told.mark, mark=0)


def packed(suspects: Suspects | None, head: int, *, leaves: bool) -> bytes:
    """What a commit at this head tells; nothing where there is nothing to tell."""
    if suspects is None or suspects.until <= head:
        if not leaves:
            return b""
        suspects = Suspects(0, head)
    flags = (_CLEAN if leaves else 0) | (_BEGUN if suspects.begun and not leaves else 0)
    until, mark = (min(max(0, at - head), _MOST) for at in (suspects.until, suspects.mark))
    owner = suspects.owner[:4].ljust(4, b"\0")
    return _FORM.pack(suspects.deaths, flags, until, mark, min(suspects.tries, 255), owner)


def unpacked(head: int, told: bytes) -> Suspects | None:
    """What a commit at this head has told; None where it told nothing, or something unknown."""
    if len(told) < _FORM.size:
        return None
    deaths, flags, until, mark, tries, owner = _FORM.unpack_from(told)
    begun, clean = bool(flags & _BEGUN), bool(flags & _CLEAN)
    return Suspects(deaths, head + until, mark and head + mark, tries, begun, owner, clean)
