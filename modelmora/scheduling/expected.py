"""What runs and loads are expected to take, learned from real ones, and the waits that follow."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from statistics import median
from typing import NamedTuple

from modelmora.messages import Parameter

_REMEMBERED = 9
_MOST_SHAPES = 64
NEVER = float("inf")


def shape_of(parameters: Mapping[str, Parameter], size: int) -> Hashable:
    """What tells requests apart that take their time: numbers but the seed, `size`, and bytes.

    Bytes count by their power of two. Other words are what it is about, not how much of it.
    """
    numbers = frozenset(
        (name, value)
        for name, value in parameters.items()
        if (isinstance(value, int | float) and name != "seed") or name == "size"
    )
    return numbers, size.bit_length()


class Typical:
    """The median of the latest nine: one that was frozen, or the first of all, tells little."""

    __slots__ = ("_latest", "trusted", "value")

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=_REMEMBERED)
        self.value: float | None = None
        """None before the first."""
        self.trusted = 0
        """How often works were not begun on its word since one was last seen."""

    def add(self, value: float) -> None:
        """One more was seen."""
        self._latest.append(value)
        self.trusted = 0
        self.value = median(self._latest)


class Runs:
    """How long (ms) one work of a model takes, by its shape; of the shapes the latest 64."""

    __slots__ = ("_all", "_shapes")

    def __init__(self) -> None:
        self._all = Typical()
        self._shapes: OrderedDict[Hashable, Typical] = OrderedDict()

    def of(self, shape: Hashable) -> float | None:
        """Of that shape, else of any; None while none has run."""
        known = self._shapes.get(shape)
        return known.value if known else self._all.value

    def trust(self, shape: Hashable) -> bool:
        """Whether works of that shape are not to be begun on its word.

        Nine times in a row; then one is, for it may take less time by now.
        """
        known = self._shapes.get(shape, self._all)
        known.trusted += 1
        return known.trusted <= _REMEMBERED

    def learn(self, shapes: Sequence[Hashable], run_ms: float) -> None:
        """A group of these ran for so long: shared out as each was expected to take of it."""
        counts = Counter(shapes)
        expected = {shape: self.of(shape) or 0.0 for shape in counts}
        whole = sum(expected[shape] * count for shape, count in counts.items())
        for shape in counts:
            ms = run_ms * expected[shape] / whole if whole else run_ms / len(shapes)
            self._shapes.setdefault(shape, Typical()).add(ms)
            self._shapes.move_to_end(shape)
        self._all.add(run_ms / len(shapes))
        while len(self._shapes) > _MOST_SHAPES:
            self._shapes.popitem(last=False)


def left_s(expected_s: float, elapsed_s: float, most_s: float = NEVER) -> float:
    """How much longer something takes that has gone on for so long.

    What is overdue has hung for a while, and is taken to hang for as long again; `most_s` is when
    it is ended.
    """
    return min(abs(expected_s - elapsed_s), max(0.0, most_s))


def next_start_s(free_in_s: Iterable[float], count: int, each_s: float) -> float:
    """When the next begins behind `count` that take `each_s`, each where there is a place first.

    `free_in_s`: when each place is free, one at least. Exact for equal ones (list scheduling,
    Graham 1969) where the places' times differ by no more than one of them takes.
    """
    places = [*free_in_s]
    heapify(places)
    rounds, rest = divmod(count, len(places))
    for _ in range(rest):
        heapreplace(places, places[0] + each_s)
    return places[0] + rounds * each_s


class Seat(NamedTuple):
    """Bytes of a memory that are given back in so many seconds."""

    free_in_s: float
    bytes: int


class Comer(NamedTuple):
    """A model that is to be loaded: its bytes, its load, and what waits for it, in seconds."""

    bytes: int
    load_s: float
    work_s: float


def room_in_s(budget: int, seats: Iterable[Seat], comers: Sequence[Comer], most_s: float) -> float:
    """When the last of the comers has room, if each takes what is given back first.

    Those before it have room in their turn, and are loaded and used before they leave. Nobody
    waits for longer than `most_s`, for then those who have the room are sent away.
    """
    held = [*seats]
    heapify(held)
    taken = sum(seat.bytes for seat in held)
    at_s = 0.0
    for comer in comers:
        at_s = 0.0
        while held and taken + comer.bytes > budget:
            seat = heappop(held)
            taken -= seat.bytes
            at_s = max(at_s, seat.free_in_s)
        at_s = min(at_s, most_s)
        heappush(held, Seat(at_s + comer.load_s + comer.work_s, comer.bytes))
        taken += comer.bytes
    return at_s
