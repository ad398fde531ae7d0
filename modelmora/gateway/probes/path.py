"""What has become of the probes of each lane, and what that says of the path; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Partition = tuple[str, int]
AT_ONCE = 3
"""Partitions of a lane asked in one turn, far apart: those of one node lie beside each other."""
MOST_ASKED = 4
"""Probes that may be under way to one partition; of more the oldest is forgotten."""


class How(StrEnum):
    """What has become of a probe."""

    ANSWERED = "answered"
    LATE = "late"
    HELD_BACK = "held_back"


@dataclass(slots=True)
class Asked:
    """A partition that owes an answer, since a time (s)."""

    since: float
    written: bool = False
    """Whether the broker has any of it."""
    late: bool = False
    """Whether it has been told as late."""
    sent: dict[bytes, float] = field(default_factory=dict)
    """When each probe was sent, by its id."""


@dataclass(slots=True)
class Lane:
    """How a lane stands. Times in seconds."""

    turn: int = 0
    since: float | None = None
    """Since when nothing of it was answered, though asked."""
    seconds: float = 0.0
    """How long the last answer took."""
    last: dict[How, float] = field(default_factory=dict)
    """When a probe last became that."""


class Path:
    """Keeps the probes of each lane, by its topic. `now` is in seconds, of any clock that rises."""

    def __init__(self, turn: int = 0) -> None:
        """Partitions are asked in turn, from `turn` on."""
        self._turn = turn
        self.lanes: dict[str, Lane] = {}
        self._asked: dict[Partition, Asked] = {}
        self._places: dict[bytes, Partition] = {}

    def due(self, topic: str, partitions: int) -> list[int]:
        """The partitions of a topic with so many to ask now: its next ones, and what is late."""
        lane = self.lanes.setdefault(topic, Lane(self._turn))
        count = min(AT_ONCE, partitions)
        turn = {(lane.turn + step * partitions // count) % partitions for step in range(count)}
        lane.turn += 1
        owed = [n for (of, n), asked in self._asked.items() if of == topic and asked.late]
        return sorted(turn | {n for n in owed[:AT_ONCE] if n < partitions})

    def sent(self, request_id: bytes, place: Partition, now: float) -> None:
        """A probe is on its way."""
        lane = self.lanes.setdefault(place[0], Lane(self._turn))
        lane.since = now if lane.since is None else lane.since
        asked = self._asked.setdefault(place, Asked(now))
        if len(asked.sent) >= MOST_ASKED:
            self._forget(next(iter(asked.sent)))
        asked.sent[request_id] = now
        self._places[request_id] = place

    def written(self, request_id: bytes) -> None:
        """The broker has it."""
        if place := self._places.get(request_id):
            self._asked[place].written = True

    def is_awaited(self, request_id: bytes) -> bool:
        """Whether its answer would still say something."""
        return request_id in self._places

    def answered(self, request_id: bytes, now: float) -> bool:
        """An answer has come; False: it is to none of these."""
        place = self._places.get(request_id)
        if place is None:
            return False
        lane = self.lanes[place[0]]
        lane.since, lane.last[How.ANSWERED] = None, now
        lane.seconds = now - self._asked[place].sent[request_id]
        self._drop(place)
        return True

    def excuse(self, places: Iterable[Partition], now: float) -> None:
        """These are not read for a while, on purpose: that nothing is answered says nothing."""
        for place in self._asked.keys() & {*places}:
            lane = self.lanes[place[0]]
            lane.since, lane.last[How.HELD_BACK] = None, now
            self._drop(place)

    def clear(self) -> None:
        """Nothing is awaited any more."""
        self._asked.clear()
        self._places.clear()
        for lane in self.lanes.values():
            lane.since = None

    def late(self, limit_s: float, now: float, shapes: Mapping[str, int]) -> dict[Partition, Asked]:
        """What has owed an answer for so long; what a topic has no longer owes none."""
        for topic, number in [*self._asked]:
            if number >= shapes.get(topic, 0):
                self._drop((topic, number))
        found = {p: each for p, each in self._asked.items() if now - each.since >= limit_s}
        for (topic, _), each in found.items():
            if not each.late:
                each.late, self.lanes[topic].last[How.LATE] = True, now
        return found

    def silent(self, limit_s: float, now: float) -> dict[str, float]:
        """The lanes of which nothing was answered for so long, and for how long (s)."""
        return {
            topic: now - lane.since
            for topic, lane in self.lanes.items()
            if lane.since is not None and now - lane.since >= limit_s
        }

    def oldest_s(self, now: float) -> float:
        """For how long an answer has been owed."""
        return max((now - each.since for each in self._asked.values()), default=0.0)

    def _drop(self, place: Partition) -> None:
        for request_id in [*self._asked.pop(place).sent]:
            self._places.pop(request_id, None)

    def _forget(self, request_id: bytes) -> None:
        self._asked[self._places.pop(request_id)].sent.pop(request_id)
