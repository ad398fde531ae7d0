"""How long a model stays in memory with nothing to do, and when it is kept out of it (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from modelmora.messages import Health, State
from modelmora.scheduling.policy import Policy


@dataclass(slots=True)
class Life:
    """What is remembered of one model beside its children and its queue."""

    keep_alive_s: float | None = None
    """As its latest request has it; None: as its definition does."""
    ordered: bool = False
    """Loaded by order, and not used since: it stays until it is."""
    insists: bool = False
    """The order to load it is repeated after each failure."""
    strikes: list[float] = field(default_factory=list)
    """When it brought its children down, since it last answered anything."""
    quarantines: int = 0
    """How often in a row it was quarantined."""
    quarantined: bool = False
    behind: bool = False
    """Loaded for copies, and nothing else has asked for it since: it gives way to all others."""
    told: Health = field(default_factory=lambda: Health(State.COLD))
    """What the world was last told of it."""

    def well(self) -> None:
        """It has answered something."""
        if self.strikes:
            self.strikes.clear()
            self.quarantines = 0

    def pardon(self) -> None:
        """Forget what was; by order."""
        self.strikes.clear()
        self.quarantines = 0
        self.quarantined = False


def stays_until(
    life: Life, keep_alive_s: float | None, policy: Policy, idle_since: float, *, pinned: bool
) -> float:
    """When (monotonic s) an idle model leaves memory though nobody needs the room.

    `keep_alive_s` is what its definition says; `idle_since` when it last had anything to do.

    (1) Pinned, or loaded by order and not used since: never.
    (2) Its latest request says how long; else its definition; else the setting.
    (3) A negative time: not before memory is needed.
    """
    # (1) Stays.
    if pinned or life.ordered:
        return float("inf")
    # (2) Whose word counts.
    words: Iterable[float | None] = (life.keep_alive_s, keep_alive_s, policy.keep_alive_s)
    keep_s = next(word for word in words if word is not None)
    # (3) For ever.
    return float("inf") if keep_s < 0 else idle_since + keep_s


def strike(life: Life, policy: Policy, now: float) -> float | None:
    """The model brought a child down, by no single request's fault; how long it is quarantined.

    Which deaths count the caller knows: those while loading or idle, and one for each request that
    was found guilty. So a poison among requests that are answered is no fault of the model.

    (1) Fewer than `strikes` within `strike_window_s`: not yet (None).
    (2) Else for a time that doubles, from `quarantine_s` to `quarantine_max_s`. The strikes are
        kept: the first one afterwards is enough, unless it has answered something.
    """
    life.strikes = [at for at in life.strikes if at > now - policy.strike_window_s] + [now]
    # (1) Not yet.
    if len(life.strikes) < policy.strikes:
        return None
    # (2) Quarantine.
    life.quarantines += 1
    life.quarantined = True
    return policy.quarantine(life.quarantines)
