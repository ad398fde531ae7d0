"""How much of its budgets each principal has used, and whether it may use more: pure buckets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from modelmora.access.rights import matches
from modelmora.messages import Lane
from modelmora.settings.budgets import PARTS, UNITS, Budget, Rate, Unit

MOST_BUCKETS = 10_000
MOST_KNOWN = 4096
SHARE = 0.1
"""Of what comes back in a minute: so much all others together may have used without our knowing."""
MINUTE_S = 60.0
LONGEST_S = 3600.0
"""For so long at most the word of another process shuts a principal out."""
ROUNDED = 1e-6
"""What may be missing: levels are sums of fractions."""
_NAMES = frozenset({*UNITS})


class Costs(NamedTuple):
    """What a request uses, in the order of `UNITS`; what is 0 is not asked for."""

    requests: float = 0.0
    tokens: float = 0.0
    pixels: float = 0.0
    device_ms: float = 0.0


@dataclass(slots=True, eq=False)
class Bucket:
    """What is left of one budget; `level` is that at `at` (monotonic s), below 0 where it is owed.

    `untold` is what was used here since the last record of it, `flying` what those records told
    that were not read back yet.
    """

    key: str
    name: str
    unit: int
    rate: Rate
    per_s: float
    most: float
    level: float
    at: float
    untold: float = 0.0
    flying: float = 0.0

    def left(self, now: float) -> float:
        """What is left by now."""
        level = self.level + (now - self.at) * self.per_s
        self.level, self.at = min(level, self.most), now
        return self.level

    def take(self, amount: float, now: float) -> None:
        """Use so much, here."""
        self.level = self.left(now) - amount
        self.untold += amount

    def owe(self, level: float) -> None:
        """Have it at a level that another process tells, within reason."""
        self.level = min(max(level, -LONGEST_S * self.per_s), self.most)

    def owed(self, now: float) -> float:
        """What is missing until it is full."""
        return self.most - self.left(now)


@dataclass(slots=True, eq=False)
class Charge:
    """What was taken, and from where."""

    buckets: tuple[Bucket, ...]
    costs: Costs


class Over(NamedTuple):
    """A budget that is used up, and when there will be enough of it (s)."""

    bucket: Bucket
    wait_s: float
    buckets: tuple[Bucket, ...]


class Untold(NamedTuple):
    """There may be enough, but others do not know yet how much was used here of late."""

    buckets: tuple[Bucket, ...]


class Spent(NamedTuple):
    """What was used of a bucket here and is to be told, and what it lacks by now."""

    bucket: str
    spent: float
    owed: float


Known = dict[tuple[str, str], tuple[Bucket, ...]]
"""By principal and model."""


@dataclass(slots=True, eq=False)
class Buckets:
    """All buckets of these budgets; times are monotonic seconds.

    `others` is how many processes beside this one use up the same budgets. While there are some,
    no more is used here than a share of each budget before they know of it: so whatever they do
    at the same time, all together use at most `SHARE` of a minute's amount too much; or one
    request each, where that is more.
    """

    budgets: Mapping[str, Budget]
    others: int = 0
    _all: dict[str, Bucket] = field(default_factory=dict)
    _known: tuple[Known, ...] = field(default_factory=lambda: tuple({} for _ in Lane))
    """For each lane."""

    def charge(
        self, principal: str, model: str, lane: Lane, costs: Costs, now: float
    ) -> Charge | Over | Untold:
        """Take what a request uses from all budgets that it falls under, or from none.

        `model` is `name` or `name@version`. What costs more than a bucket holds needs a full one,
        and is owed from then on.

        (1) One of them has too little left. (2) One was used too much to be used on untold.
        """
        buckets = self.of(principal, model, lane, now)
        # (1)
        over, wait_s = None, 0.0
        for bucket in buckets:
            # As `left` has it; a call for each would take as long as all the rest.
            level = min(bucket.level + (now - bucket.at) * bucket.per_s, bucket.most)
            bucket.level, bucket.at = level, now
            cost = costs[bucket.unit]
            if cost - level > ROUNDED and cost > 0:
                lacking = min(cost, bucket.most) - level
                if lacking > ROUNDED and lacking / bucket.per_s >= wait_s:
                    over, wait_s = bucket, lacking / bucket.per_s
        if over is not None:
            return Over(over, wait_s, buckets)
        # (2)
        if self.others and any(self._is_untold(each, costs[each.unit]) for each in buckets):
            return Untold(buckets)
        for bucket in buckets:
            bucket.level -= costs[bucket.unit]
            bucket.untold += costs[bucket.unit]
        return Charge(buckets, costs)

    def of(self, principal: str, model: str, lane: Lane, now: float) -> tuple[Bucket, ...]:
        """The buckets of all budgets that a request falls under."""
        found = self._known[lane].get((principal, model))
        return self._find(principal, model, lane, now) if found is None else found

    def _is_untold(self, bucket: Bucket, cost: float) -> bool:
        untold = bucket.untold + bucket.flying
        share = SHARE * MINUTE_S * bucket.per_s / (self.others + 1)
        return untold > 0 and cost > 0 and untold + cost > share

    def settle(self, charge: Charge, costs: Costs, now: float) -> None:
        """Have a charge be what the request has used in fact; it may go below 0."""
        for bucket in charge.buckets:
            bucket.take(costs[bucket.unit] - charge.costs[bucket.unit], now)

    def tell(self, now: float) -> list[Spent]:
        """What was used here since the last time; from now on it is on its way to the others."""
        told = []
        for bucket in self._all.values():
            if bucket.untold:
                told.append(Spent(bucket.key, bucket.untold, bucket.owed(now)))
                bucket.flying, bucket.untold = bucket.flying + bucket.untold, 0.0
        return told

    def landed(self, key: str, spent: float) -> None:
        """So much of what was told is known to all who read."""
        if bucket := self._all.get(key):
            flying = bucket.flying - spent
            bucket.flying = flying if abs(flying) > abs(spent) * 1e-9 else 0.0

    def untell(self, key: str, spent: float) -> None:
        """So much of what was told was not written: it is to be told again."""
        self.landed(key, spent)
        if bucket := self._all.get(key):
            bucket.untold += spent

    def forget_told(self) -> None:
        """Nobody can know any more what was on its way."""
        for bucket in self._all.values():
            bucket.flying = 0.0

    def replace(self, budgets: Mapping[str, Budget], now: float) -> None:
        """Other budgets count from now on. What was used of one stays used, by whatever it has."""
        self.budgets = budgets
        for key, bucket in [*self._all.items()]:
            name, unit, *parts = json.loads(key)
            budget = budgets.get(name)
            rate = budget.rates().get(unit) if budget else None
            if budget is None or rate is None or not _is_shared_so(budget, parts):
                del self._all[key]
            elif rate != bucket.rate:
                owed = bucket.owed(now)
                bucket.rate, bucket.per_s, bucket.most = rate, rate.per_s, rate.most
                bucket.level = rate.most - owed
        for known in self._known:
            known.clear()

    def heard(self, key: str, spent: float, now: float) -> None:
        """Another process tells that it has used so much."""
        if bucket := self._all.get(key) or self._made(key, now):
            bucket.owe(bucket.left(now) - spent)

    def found(self, key: str, owed: float, age_s: float, now: float) -> None:
        """So much was owed so long ago, by all that a process knew then."""
        if bucket := self._all.get(key) or self._made(key, now):
            still = owed - max(age_s, 0.0) * bucket.per_s
            bucket.owe(min(bucket.left(now), bucket.most - still))

    # Which there are -----------------------------------------------------------------------------

    def _find(self, principal: str, model: str, lane: Lane, now: float) -> tuple[Bucket, ...]:
        name = model.partition("@")[0]
        found = []
        for told, budget in self.budgets.items():
            if _is_meant(budget, principal, name, lane):
                parts = _parts(budget, (principal, name, lane.label))
                for unit in budget.rates():
                    key = json.dumps([told, unit, *parts])
                    found.append(self._all.get(key) or self._new(key, told, unit, now))
        known = self._known[lane]
        if len(known) >= MOST_KNOWN:
            known.clear()
        known[principal, model] = buckets = tuple(found)
        return buckets

    def _new(self, key: str, name: str, unit: Unit, now: float) -> Bucket:
        if len(self._all) >= MOST_BUCKETS:
            self._shed(now)
        rate = self.budgets[name].rates()[unit]
        bucket = self._all[key] = Bucket(
            key,
            f"{name}.{unit}",
            UNITS.index(unit),
            rate,
            rate.per_s,
            rate.most,
            rate.most,
            now,
        )
        return bucket

    def _made(self, key: str, now: float) -> Bucket | None:
        """The bucket of a key that another process has told, None where there is none of it here.

        Keys are read from a topic: they may be anything.
        """
        try:
            name, unit, *parts = json.loads(key)
        except (ValueError, TypeError, RecursionError):
            return None
        if not (isinstance(name, str) and isinstance(unit, str) and unit in _NAMES):
            return None
        budget = self.budgets.get(name)
        if budget is None or getattr(budget, unit) is None or len(parts) != len(PARTS):
            return None
        if json.dumps([name, unit, *parts]) != key:
            return None
        return self._new(key, name, _unit(unit), now)

    def _shed(self, now: float) -> None:
        """Forget half of them, the fullest: whoever makes up names empties none of theirs."""
        idle = [each for each in self._all.values() if not each.untold]
        idle.sort(key=lambda each: each.left(now) / each.most, reverse=True)
        for each in idle[: max(1, MOST_BUCKETS // 2)]:
            del self._all[each.key]
        for known in self._known:
            known.clear()

    def __iter__(self) -> Iterator[Bucket]:
        return iter(self._all.values())


def used_up(bucket: Bucket, wait_s: float) -> tuple[str, int]:
    """How one is told that there will be enough in so many seconds; and that in ms."""
    rate, wait_ms = bucket.rate, max(1, math.ceil(1000 * wait_s))
    name, _, unit = bucket.name.rpartition(".")
    message = (
        f"the budget {name} of {rate.amount} {unit} a {rate.per} is used up; "
        f"try again in {math.ceil(wait_ms / 1000)} s"
    )
    return message, wait_ms


def _parts(budget: Budget, own: Sequence[str | None]) -> list[str | None]:
    """Of principal, model and lane those of which each has a bucket of its own."""
    pairs = zip(PARTS, own, strict=True)
    return [value if part in budget.each else None for part, value in pairs]


def _is_shared_so(budget: Budget, parts: Sequence[str | None]) -> bool:
    """Whether these are the parts of one of its buckets."""
    return all(
        (part in budget.each) == (value is not None)
        for part, value in zip(PARTS, parts, strict=True)
    )


def _unit(text: str) -> Unit:
    return next(unit for unit in UNITS if unit == text)


def _is_meant(budget: Budget, principal: str, name: str, lane: Lane) -> bool:
    return (
        lane.label in budget.lanes
        and any(matches(glob, principal) for glob in budget.principals)
        and any(matches(glob, name) for glob in budget.models)
    )
