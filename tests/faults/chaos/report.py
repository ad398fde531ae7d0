"""What came of a run of chaos, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.checker import Verdict
from tests.faults.chaos.plan import Plan
from tests.faults.chaos.steady import Kept
from tests.faults.chaos.watch import Seen
from tests.faults.recording import Figures


@dataclass(frozen=True, slots=True)
class Report:
    """`died` are processes that ended as none may; `judge_s` is what the checker took."""

    plan: Plan
    verdict: Verdict
    codes: Mapping[str, int]
    struck: Sequence[Seen]
    missed: Mapping[str, int] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    died: Sequence[str] = ()
    steady: Mapping[str, Kept] = field(default_factory=dict)
    seconds: float = 0.0
    drain_s: float = 0.0
    judge_s: float = 0.0
    silent_s: float = 0.0

    @property
    def kinds(self) -> Mapping[str, int]:
        """Violations by kind."""
        return Counter(violation.kind for violation in self.verdict.violations)

    @property
    def faults(self) -> list[str]:
        """All for which the run failed, in words."""
        swollen = [
            f"not flat: {name} {one}" for name, one in self.steady.items() if not one.is_flat
        ]
        judged = self.plan.witness
        return [*map(str, self.verdict.violations), *self.died, *(swollen if judged else ())]

    def show(self, figures: Figures) -> None:
        """Leave what the matrix has of it; a fault during which another came tells no time."""
        figures.judged(self.verdict, len(self.struck))
        alone = [seen.first_s for seen in self.struck if seen.first_s and not seen.beside]
        figures.recovered(max(alone, default=0.0))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        plan = self.plan
        return {
            "seed": plan.seed,
            "minutes": plan.minutes,
            "rate": plan.rate,
            "nodes": plan.nodes,
            "seconds": round(self.seconds, 1),
            "drain_s": round(self.drain_s, 1),
            "judge_s": round(self.judge_s, 1),
            "silent_s": round(self.silent_s, 1),
            **self.verdict.counts,
            "untold": self.kinds.get("untold", 0),
            "codes": dict(self.codes),
            "faults": dict(Counter(seen.name for seen in self.struck)),
            "missed": dict(self.missed),
            "ended": dict(self.ended),
            "recovered": [_recovered(seen) for seen in self.struck],
            "steady": {name: one.as_json() for name, one in self.steady.items()},
            "failed": self.faults,
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        counts = self.verdict.counts
        yield f"{'fault':24} times  first outcome after, s     of every partition, s"
        for name in sorted({seen.name for seen in self.struck}):
            of_it = [seen for seen in self.struck if seen.name == name]
            first, every = ([getattr(s, what) for s in of_it] for what in ("first_s", "all_s"))
            yield f"{name:24} {len(of_it):5}  {_spread(first):24}  {_spread(every)}"
        for title, told in (("missed", self.missed), ("ended", self.ended), ("codes", self.codes)):
            if told:
                yield f"{title}: " + ", ".join(f"{n} {count}" for n, count in sorted(told.items()))
        for name, one in self.steady.items():
            kinds = ", ".join(f"{kind} +{more}" for kind, more in sorted(one.more.items()))
            flat = "flat" if one.is_flat else f"NOT FLAT ({kinds})"
            memory = f"at most {one.kb[0] / 1024:.1f} -> {one.kb[1] / 1024:.1f} MB"
            slope = f"{one.slope_kb_min:+.0f} kB/min"
            fds, threads = (f"{a} -> {b}" for a, b in (one.fds, one.threads))
            yield f"{name}: {memory} ({slope}), files {fds}, threads {threads}: {flat}"
        took = f"{self.seconds:.0f} s, then {self.drain_s:.0f} s to the last commit"
        yield f"{took}, judged in {self.judge_s:.0f} s; longest silence {self.silent_s:.1f} s"
        names = ("requests", "outcomes", "told", "lost", "contradicting", "repeated")
        counted = ", ".join(f"{name} {counts[name]}" for name in names)
        untold = self.kinds.get("untold", 0)
        more = f"untold {untold}, violations {counts['violations']}"
        yield f"chaos seed={self.plan.seed}: {len(self.struck)} faults, {counted}, {more}"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "never"
    never = f", {len(values) - len(known)} never" if len(known) < len(values) else ""
    return f"{median(known):.1f} (at most {max(known):.1f}{never})"


def _recovered(seen: Seen) -> dict[str, Any]:
    values = {
        "at_s": seen.at_s,
        "lasted_s": seen.lasted_s,
        "first_s": seen.first_s,
        "all_s": seen.all_s,
    }
    rounded = {name: None if value is None else round(value, 2) for name, value in values.items()}
    return {"fault": seen.name, **rounded, "beside": seen.beside}
