"""What a comparison says: agreement, latency, memory and cost of two versions, worst cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from statistics import fmean
from typing import Any, NamedTuple, Self, TypeAlias

from modelmora.comparing.answers import Answer
from modelmora.comparing.measures import Compared, compared
from modelmora.text import shorten

FORM = 1
"""Of the JSON: it counts up where a name in it is taken away or means something else."""
WORST = 20
STEPS = 20
MOST_WHY = 120


class Measure(NamedTuple):
    """What a measure is called, how its numbers are told, and whether more of it is better."""

    name: str
    told: Callable[[float], str]
    more_is_better: bool = True


def _share(value: float) -> str:
    """In per cent, to where two that differ can be told apart; only all is 100 %."""
    if value == 1 or value <= 0.9:
        return f"{value:.1%}"
    return f"{min(value, 0.99999):.3%}"


MEASURES: Mapping[str, Measure] = {
    "agreement": Measure("agreement", _share),
    "same": Measure("same bytes", _share),
    "cosine": Measure("cosine", "{:.5f}".format),
    "similarity": Measure("similarity", _share),
    "edits": Measure("edit distance", "{:.4g}".format, more_is_better=False),
    "first": Measure("same first", _share),
    "ranking": Measure("same ranking", _share),
    "score_moved": Measure("score moved by", "{:.3g}".format, more_is_better=False),
    "hash_apart": Measure("hash bits apart", "{:.3g}".format, more_is_better=False),
    "same_shape": Measure("same dimensions", _share),
    "size": Measure("bytes, of before", "{:.0%}".format, more_is_better=False),
    "moved": Measure("number moved by", "{:.3g}".format, more_is_better=False),
}
"""In the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over all pairs: nineteen of twenty are at least as good as `p95`."""

    pairs: int
    mean: float
    p50: float
    p95: float
    worst: float

    @classmethod
    def of(cls, values: Iterable[float], *, more_is_better: bool) -> Self | None:
        """Of these; None where there are none."""
        told = sorted(values, reverse=more_is_better)
        if not told:
            return None
        return cls(len(told), fmean(told), _rank(told, 0.5), _rank(told, 0.95), told[-1])


@dataclass(frozen=True, slots=True)
class Needs:
    """What a version takes, as nodes have measured it; None where none has."""

    memory_bytes: int | None = None
    gpu_bytes: int | None = None
    load_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two versions: how its outcomes ended, and what those that both answered took.

    `ended` counts codes of errors, and `completed`. Means are of a request.
    """

    model: str
    ended: Mapping[str, int]
    device_ms: Spread | None
    tokens: float | None
    pixels: float | None
    needs: Needs


@dataclass(frozen=True, slots=True)
class Case:
    """One pair by its request's id; never what was in it."""

    request_id: str
    agreement: float
    measures: Mapping[str, float]
    why: str
    baseline_ms: float
    candidate_ms: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What a comparison was asked for.

    `comparison` is its id, "live" for what a live shadow left; times are Unix ms.
    """

    baseline: str
    candidate: str
    comparison: str = "live"
    since_ms: int | None = None
    until_ms: int | None = None
    sample: int | None = None
    task: str = ""
    needs: tuple[Needs, Needs] = (Needs(), Needs())


@dataclass(frozen=True, slots=True)
class Report:
    """All that a comparison says.

    `pairs` are those that tell something of the candidate; `left_out` says of how many nothing was
    told, and why, `unlike` why others could not be measured. `curve` is the agreement of the pairs
    from the worst to the best, each twentieth part of them. `alike`: the device times of both
    sides were measured in the same way, so that they can be compared.
    """

    asked: Asked
    kinds: Mapping[str, int]
    pairs: int
    baseline: Side
    candidate: Side
    measures: Mapping[str, Spread]
    left_out: Mapping[str, int]
    unlike: Mapping[str, int]
    curve: tuple[float, ...]
    alike: bool
    worst: tuple[Case, ...]

    @property
    def agreement(self) -> Spread | None:
        """How far the candidate agrees with the baseline."""
        return self.measures.get("agreement")

    @property
    def slower(self) -> tuple[float, float] | None:
        """What the candidate takes of the baseline's time, at the median and at p95, if `alike`."""
        before, after = self.baseline.device_ms, self.candidate.device_ms
        if not self.alike or not before or not after or not before.p50 or not before.p95:
            return None
        return after.p50 / before.p50, after.p95 / before.p95

    def as_json(self) -> dict[str, Any]:
        """All of it, in a form that stays."""
        asked, slower = self.asked, self.slower
        return {
            "form": FORM,
            "baseline": _side(self.baseline),
            "candidate": _side(self.candidate),
            "comparison": asked.comparison,
            "since_ms": asked.since_ms,
            "until_ms": asked.until_ms,
            "sample": asked.sample,
            "task": asked.task or None,
            "kinds": dict(self.kinds),
            "pairs": self.pairs,
            "left_out": dict(self.left_out),
            "unlike": dict(self.unlike),
            "agreement_curve": list(self.curve),
            "measures": {name: asdict(each) for name, each in self.measures.items()},
            "device_ms_alike": self.alike,
            "device_ms_ratio": slower and {"p50": slower[0], "p95": slower[1]},
            "worst": [asdict(each) for each in self.worst],
        }


_Both: TypeAlias = tuple[Answer, Answer]


@dataclass(slots=True)
class Comparison:
    """Pairs as they come; pure. Of each pair only the numbers are kept."""

    asked: Asked
    _seen: list[tuple[str, Answer, Answer, Compared]] = field(default_factory=list)
    _left_out: Counter[str] = field(default_factory=Counter)

    def take(self, request_id: str, baseline: Answer, candidate: Answer) -> Compared:
        """A pair has come: the two outcomes of one request."""
        found = compared(baseline, candidate)
        self._seen.append(
            (request_id, replace(baseline, parts=()), replace(candidate, parts=()), found)
        )
        return found

    def leave_out(self, why: str, count: int = 1) -> None:
        """So many requests have no pair."""
        self._left_out[why] += count

    def report(self, worst: int = WORST) -> Report:
        """What has come so far says."""
        both = [(a, b) for _, a, b, _ in self._seen if a.answered and b.answered]
        alike = [pair for pair in both if pair[0].alone == pair[1].alone]
        told = [each for each in self._seen if each[3].agreement is not None]
        left_out = self._left_out + Counter(
            each.why for *_, each in self._seen if each.agreement is None
        )
        return Report(
            self.asked,
            Counter(a.kind.value for a, _ in both),
            len(told),
            self._side(0, both, alike or both),
            self._side(1, both, alike or both),
            _measures([each for *_, each in told]),
            left_out,
            Counter(each.why for *_, each in told if each.why),
            _curve(each.agreement or 0.0 for *_, each in told),
            bool(alike),
            tuple(sorted(map(_case, told), key=_badness)[:worst]),
        )

    def _side(self, number: int, both: Sequence[_Both], timed: Sequence[_Both]) -> Side:
        asked = self.asked
        every = [(a, b)[number] for _, a, b, _ in self._seen]
        mine = [pair[number] for pair in both]
        return Side(
            (asked.baseline, asked.candidate)[number],
            Counter(each.error or each.status.lower() for each in every),
            Spread.of((pair[number].device_ms for pair in timed), more_is_better=False),
            _mean(each.tokens for each in mine),
            _mean(each.pixels for each in mine),
            asked.needs[number],
        )


def _measures(told: Sequence[Compared]) -> dict[str, Spread]:
    """Each measure over the pairs that have it."""
    found: dict[str, Spread] = {}
    for name, measure in MEASURES.items():
        values = (
            each.agreement if name == "agreement" else each.measures.get(name) for each in told
        )
        spread = Spread.of(
            (value for value in values if value is not None), more_is_better=measure.more_is_better
        )
        if spread:
            found[name] = spread
    return found


def _curve(values: Iterable[float]) -> tuple[float, ...]:
    told = sorted(values)
    if not told:
        return ()
    return tuple(told[round(at * (len(told) - 1) / STEPS)] for at in range(STEPS + 1))


def _case(pair: tuple[str, Answer, Answer, Compared]) -> Case:
    request_id, baseline, candidate, found = pair
    return Case(
        shorten(request_id, MOST_WHY),
        found.agreement or 0.0,
        found.measures,
        shorten(found.why, MOST_WHY),
        baseline.device_ms,
        candidate.device_ms,
    )


def _badness(case: Case) -> tuple[float, float, str]:
    """The least agreement first, of equal ones that which was slowed down most."""
    return case.agreement, case.baseline_ms - case.candidate_ms, case.request_id


def _side(side: Side) -> dict[str, Any]:
    told = asdict(side) | {"ended": dict(side.ended)}
    needs = told.pop("needs")
    return {**told, **needs}


def _mean(values: Iterable[float]) -> float | None:
    """Of a request; None where nothing is told of it."""
    told = [*values]
    return fmean(told) if any(told) else None


def _rank(told: Sequence[float], share: float) -> float:
    """The nearest rank: of sorted ones the first that so large a share does not exceed."""
    return told[ceil(share * len(told)) - 1]
