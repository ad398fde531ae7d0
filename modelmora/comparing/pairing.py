"""Which two outcomes belong together: of one request, the last word of each version on it."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Generic, TypeVar

from modelmora.comparing.answers import Answer
from modelmora.messages import InferenceResult

T = TypeVar("T")


class Pairing:
    """Joins outcomes by the id that their caller gave; pure.

    Of one id and side the highest run counts, and of one run the first outcome, as for all who
    read outcomes.
    """

    def __init__(self) -> None:
        self._sides: tuple[dict[str, tuple[int, Answer]], dict[str, tuple[int, Answer]]] = ({}, {})

    def baseline(self, request_id: str, result: InferenceResult, *, alone: bool = False) -> None:
        """An outcome of the version that answers callers; `alone`: of a copy."""
        self._take(self._sides[0], request_id, result, alone=alone)

    def candidate(self, request_id: str, result: InferenceResult) -> None:
        """An outcome of the version that is tried, of a copy."""
        self._take(self._sides[1], request_id, result, alone=True)

    def pairs(self) -> Iterator[tuple[str, Answer, Answer]]:
        """Those of which both outcomes have come."""
        mine, yours = self._sides
        for request_id, (_, answer) in yours.items():
            if request_id in mine:
                yield request_id, mine[request_id][1], answer

    @property
    def baselines(self) -> frozenset[str]:
        """The ids of which the baseline's outcome has come."""
        return frozenset(self._sides[0])

    @property
    def candidates(self) -> frozenset[str]:
        """The ids of which the candidate's outcome has come."""
        return frozenset(self._sides[1])

    @staticmethod
    def _take(
        side: dict[str, tuple[int, Answer]],
        request_id: str,
        result: InferenceResult,
        *,
        alone: bool,
    ) -> None:
        known = side.get(request_id)
        if known is None or known[0] < result.run:
            side[request_id] = result.run, Answer.of(result, alone=alone)


class Sample(Generic[T]):
    """At most so many of what comes, chosen evenly and alike whoever chooses: by the ids' hash.

    What is kept has at most `most_bytes` together: where that is less than was wanted, fewer of
    them are kept, evenly as well.
    """

    def __init__(self, count: int, most_bytes: int) -> None:
        self._count, self._left = count, most_bytes
        self._heap: list[tuple[int, str, int, T]] = []
        """The largest hash first."""
        self._ids: set[str] = set()
        self._bound = 1 << 64
        self.seen = 0
        """How many have come, about: an id that was passed over counts whenever it comes."""
        self.cut = False
        """Whether fewer are kept than was wanted, for want of room."""

    def offer(self, request_id: str, size: int, what: T) -> None:
        """One has come, of so many bytes; of an id that is kept the first stays."""
        if request_id in self._ids:
            return
        self.seen += 1
        place = int.from_bytes(blake2b(request_id.encode(errors="replace"), digest_size=8).digest())
        if place >= self._bound:
            return
        self._ids.add(request_id)
        self._left -= size
        heappush(self._heap, (-place, request_id, size, what))
        while len(self._heap) > self._count or self._left < 0:
            self.cut |= len(self._heap) <= self._count
            self._drop()

    def kept(self) -> dict[str, T]:
        """What was chosen, by id."""
        return {request_id: what for _, request_id, _, what in self._heap}

    def _drop(self) -> None:
        """Leave out the largest hash, and from now on all that is no smaller."""
        place, request_id, size, _ = heappop(self._heap)
        self._bound, self._left = -place, self._left + size
        self._ids.remove(request_id)
