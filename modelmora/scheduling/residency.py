"""Which models must leave memory so that another can be loaded, as pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Presence(Enum):
    """How firmly a model sits in memory."""

    PINNED = auto()
    """Stays, by order of an operator."""
    LOADING = auto()
    """Not useful yet, so never the victim."""
    BUSY = auto()
    """Has work: may be asked to finish and leave, is never killed."""
    FRESH = auto()
    """Idle, within its minimum residency."""
    IDLE = auto()
    DEPARTING = auto()
    """Draining or killed: its memory is on its way back."""


@dataclass(frozen=True, slots=True)
class Resident:
    """One replica in memory: its bytes (measured, else estimated) and when it last got work.

    `worth` is what its stay saves: seconds of loading, per second.
    """

    replica: int
    bytes: int
    used_at: float
    presence: Presence
    worth: float = 0.0


class Verdict(Enum):
    """What a model that wants to be loaded may do."""

    NOW = auto()
    SOON = auto()
    """Room is being made and is reserved; load when the departing have left."""
    LATER = auto()
    """Nobody can leave yet."""
    NEVER = auto()


@dataclass(frozen=True, slots=True)
class Plan:
    """The verdict, and which replicas are to leave for it (busy ones after their started work)."""

    verdict: Verdict
    leave: tuple[int, ...] = ()


def make_room(
    need: int, budget: int, residents: Sequence[Resident], *, reserved: int = 0, aged: bool = False
) -> Plan:
    """Decide for one model; all sizes in bytes.

    `reserved` is what more urgent models were promised. `aged` says that this one has been passed
    over for the ageing bound.

    (1) Larger than the budget without the pinned models: never.
    (2) Fits beside all that is in memory, and beside what is promised: now.
    (3) Fits when those that are leaving have left: soon.
    (4) Fits when idle models leave too, those worth least for their bytes first: soon.
    (5) Aged: fresh and busy models leave too, in that order, likewise. Where that is not enough
        yet (others load), nobody leaves, but the room is reserved: soon.
    (6) Else later: a stream of requests for loaded models may pass, until (5).
    """
    free_now = budget - sum(resident.bytes for resident in residents)
    staying = [one for one in residents if one.presence is not Presence.DEPARTING]
    free_soon = budget - reserved - sum(resident.bytes for resident in staying)
    missing = need - free_soon
    idle = _least_first(staying, Presence.IDLE)
    # (1) Never.
    if need > budget - sum(one.bytes for one in residents if one.presence is Presence.PINNED):
        return Plan(Verdict.NEVER)
    # (2) There is room.
    if need <= free_now and missing <= 0:
        return Plan(Verdict.NOW)
    # (3) Room is on its way.
    if missing <= 0:
        return Plan(Verdict.SOON)
    # (4) Idle models make room.
    if missing <= sum(one.bytes for one in idle):
        return Plan(Verdict.SOON, _enough(idle, missing))
    # (5) Aged: its turn comes.
    if aged:
        fresh, busy = (_least_first(staying, one) for one in (Presence.FRESH, Presence.BUSY))
        able = [*idle, *fresh, *busy]
        enough = missing <= sum(one.bytes for one in able)
        return Plan(Verdict.SOON, _enough(able, missing) if enough else ())
    # (6) Not yet.
    return Plan(Verdict.LATER)


def overrun(budget: int, residents: Sequence[Resident]) -> tuple[int, ...]:
    """The idle models that leave because loaded ones have grown beyond the budget (bytes)."""
    staying = [one for one in residents if one.presence is not Presence.DEPARTING]
    missing = sum(one.bytes for one in staying) - budget
    idle = _least_first(staying, Presence.IDLE) + _least_first(staying, Presence.FRESH)
    return _enough(idle, missing) if missing > 0 else ()


def _least_first(residents: Iterable[Resident], presence: Presence) -> list[Resident]:
    """Those that save least for the bytes they take; of equals the least recently used."""
    chosen = (one for one in residents if one.presence is presence)
    return sorted(chosen, key=lambda one: (one.worth / one.bytes, one.used_at, one.replica))


def _enough(candidates: Sequence[Resident], missing: int) -> tuple[int, ...]:
    """The first of the candidates that free `missing` bytes, less those that prove needless."""
    chosen: list[Resident] = []
    for one in candidates:
        if missing <= 0:
            break
        chosen.append(one)
        missing -= one.bytes
    for one in reversed(chosen[:-1]):
        if missing + one.bytes <= 0:
            chosen.remove(one)
            missing += one.bytes
    return tuple(one.replica for one in chosen)
