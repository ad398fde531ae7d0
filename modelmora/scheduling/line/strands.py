"""What waits in a lane: strands of works, one for each principal and batch that they may share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from heapq import merge

from modelmora.scheduling.line.turns import Account, Clock, Rising
from modelmora.scheduling.line.work import Work

_UNMEASURED_MS = 1.0


def charged(works: Sequence[Work]) -> float:
    """What principals are charged with when these are taken (ms); all alike while nobody knows."""
    return sum([work.cost or _UNMEASURED_MS for work in works])


class Strand:
    """Waiting works of one principal that may share a group, oldest first; any leaves in O(1)."""

    __slots__ = ("batch", "flow", "works")

    def __init__(self, flow: Flow, batch: Batch) -> None:
        self.flow = flow
        self.batch = batch
        self.works: OrderedDict[int, Work] = OrderedDict()

    def add(self, work: Work) -> None:
        """Put the work last."""
        self.works[work.order] = work
        work.place = self
        batch, flow = self.batch, self.flow
        batch.count += 1
        batch.bytes += work.size
        if flow.count:
            flow.count += 1
        else:
            flow.begin()

    def remove(self, work: Work) -> None:
        """Take the work out, wherever it stands."""
        del self.works[work.order]
        self._left(work.size, 1)
        work.place = None

    def take(self, count: int, size: int) -> list[Work]:
        """Take the longest prefix within count and bytes, but one work in any case.

        Only where the batch has no other strand.
        """
        works, batch = self.works, self.batch
        if batch.count <= count and batch.bytes <= size:
            taken, took = [*works.values()], batch.bytes
            works.clear()
        else:
            taken, took = [], 0
            while works and len(taken) < count:
                order, work = works.popitem(last=False)
                if taken and took + work.size > size:
                    works[order] = work
                    works.move_to_end(order, last=False)
                    break
                taken.append(work)
                took += work.size
        self._left(took, len(taken))
        for work in taken:
            work.place = None
        return taken

    def head(self) -> Work:
        """The oldest work; the strand is not empty."""
        return next(iter(self.works.values()))

    @property
    def count(self) -> int:
        """How many works it has."""
        return len(self.works)

    def oldest(self) -> int:
        """The order of its oldest work; -1 without any."""
        return next(iter(self.works), -1)

    def line(self) -> Iterator[tuple[int, Batch, Work]]:
        """Its works in their order, and their batch."""
        return ((order, self.batch, work) for order, work in self.works.items())

    def turn(self) -> tuple[float, int]:
        """Sorts what is first in its batch first."""
        return self.flow.tag, next(iter(self.works), -1)

    def _left(self, size: int, count: int) -> None:
        self.batch.count -= count
        self.batch.bytes -= size
        self.flow.less(count)


class Flow(Account):
    """What one principal has waiting in a lane, and what it has had there."""

    __slots__ = ("strands",)

    def __init__(self, principal: str, clock: Clock, close: Callable[[Strand], None]) -> None:
        super().__init__(principal, clock)
        self.strands = Rising(Strand.oldest, close)

    def turn(self) -> tuple[float, int]:
        """Sorts what is first in its lane first."""
        strand = self.strands.first() if self.count else None
        return self.tag, strand.oldest() if strand else -1

    def line(self) -> Iterator[tuple[float, int, Batch, Work]]:
        """Its works in their order, with what sorts them among all, and their batches."""
        tag = self.tag
        for order, batch, work in merge(*(strand.line() for strand in self.strands)):
            yield tag, order, batch, work
            tag += charged((work,))


class Batch:
    """The strands of works that may share a group; `turns` once there was more than one."""

    __slots__ = ("_close", "bytes", "count", "key", "strands", "turns")

    def __init__(self, key: Hashable, close: Callable[[Strand], None]) -> None:
        self._close = close
        self.key = key
        self.bytes = 0
        self.count = 0
        self.strands: dict[str, Strand] = {}
        self.turns: Rising[Strand] | None = None

    def add(self, principal: str, strand: Strand) -> None:
        """One more strand."""
        self.strands[principal] = strand
        if self.turns:
            self.turns.push(strand)
        elif len(self.strands) > 1:
            self.turns = Rising(Strand.turn, self._close)
            for each in self.strands.values():
                self.turns.push(each)


class Preset:
    """A group that a dying child gave back: whoever's its works are, they leave as they are."""

    __slots__ = ("works",)

    def __init__(self, works: tuple[Work, ...]) -> None:
        self.works = {work.order: work for work in works}
        for work in works:
            work.place = self

    @property
    def count(self) -> int:
        """How many works it has."""
        return len(self.works)

    def remove(self, work: Work) -> None:
        """Take the work out."""
        del self.works[work.order]
        work.place = None

    def head(self) -> Work:
        """The oldest work; it is not empty."""
        return next(iter(self.works.values()))
