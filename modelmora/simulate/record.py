"""A trace of what was asked of a cluster, from its requests and outcomes: never their content."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean

from modelmora.messages import Lane, RequestHead, Status, Timings
from modelmora.simulate.trace import Asked, Cost, Trace

Place = tuple[str, int, int]
"""(topic, partition, offset) of a request."""
_STEPPED = 1.5
"""So many at once on average are more than what one after the other looks like."""
_KEEP_ALIVE = "keep_alive"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it lies on its topic: when (Unix ms), whose, how large (bytes)."""

    place: Place
    at_ms: int
    lane: Lane
    size: int
    principal: str
    head: RequestHead


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: the model (name@version), and where its time went."""

    place: Place
    model: str
    status: Status
    timings: Timings


@dataclass(slots=True, eq=False)
class _Batch:
    """Requests that were computed at once: their numbers, for how long (s), and until when (s)."""

    seconds: float
    numbers: list[int] = field(default_factory=list)
    asked: float = 0.0
    """The last of their times."""
    end: float = 0.0
    loaded: bool = False
    """A load came before it."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A trace, and how many requests it lacks, since nothing tells their model."""

    trace: Trace
    unknown: int


def record(
    requests: Iterable[Request], outcomes: Iterable[Outcome], known: Mapping[str, Cost]
) -> Recording:
    """The trace of these requests.

    What each cost is taken from its outcome: requests that ended together after one time to the
    last bit were computed at once. Those that were refused are left out. `known` is what nodes have
    measured of models: the seconds of a load, and bytes; what they have not is left open.
    """
    ends = {outcome.place: outcome for outcome in outcomes}
    versions = _versions(ends.values())
    asked: list[Asked] = []
    batches: defaultdict[str, dict[float, list[_Batch]]] = defaultdict(dict)
    loads: defaultdict[str, float] = defaultdict(float)
    kinds: defaultdict[str, dict[Hashable, str]] = defaultdict(dict)
    unknown = 0
    ordered = sorted(requests, key=lambda each: (each.at_ms, each.place))
    start_ms = ordered[0].at_ms if ordered else 0
    for each in ordered:
        outcome = ends.get(each.place)
        if outcome and outcome.status is Status.REFUSED:
            continue
        model = outcome.model if outcome else versions.get(each.head.model, "")
        if not model:
            unknown += 1
            continue
        time = (each.at_ms - start_ms) / 1000
        kind = _kind(each.head, kinds[model])
        asked.append(
            Asked(
                time, model, each.lane, each.size, 1.0, each.principal, each.head.timeout_ms, kind
            )
        )
        if outcome and outcome.status is Status.COMPLETED:
            _enter(batches[model], outcome.timings, time, len(asked) - 1)
            loads[model] = max(loads[model], outcome.timings.load_ms / 1000)
    models: dict[str, Cost] = {}
    for model in sorted({each.model for each in asked}):
        told = known.get(model, Cost())
        load_s = loads.get(model) if told.load_s is None else told.load_s
        cost, units = _cost([each for same in batches[model].values() for each in same])
        models[model] = replace(cost, load_s=load_s, bytes=told.bytes)
        for number, unit in units.items():
            asked[number] = replace(asked[number], units=unit)
    return Recording(Trace(models, _with_means(asked, batches)), unknown)


def _versions(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Of each name, with and without its version, the name@version that answered most."""
    counts = Counter(outcome.model for outcome in outcomes if "@" in outcome.model)
    found = {model: model for model in counts}
    for model, _ in reversed(counts.most_common()):
        found[model.partition("@")[0]] = model
    return found


def _kind(head: RequestHead, kinds: dict[Hashable, str]) -> str:
    """A number for the request's parameters, which are not told themselves; "" for the first."""
    found = frozenset(
        (name, repr(value)) for name, value in head.parameters.items() if name != _KEEP_ALIVE
    )
    return kinds.setdefault(found, str(len(kinds)) if kinds else "")


def _enter(batches: dict[float, list[_Batch]], spent: Timings, time: float, number: int) -> None:
    """Add a request to the batch that it was computed in, or to a new one."""
    end, same = time + spent.total_ms / 1000, batches.setdefault(spent.inference_ms, [])
    batch = next((one for one in same if abs(one.end - end) < one.seconds / 2), None)
    if batch is None:
        batch = _Batch(spent.inference_ms / 1000, end=end)
        same.append(batch)
    batch.numbers.append(number)
    batch.asked = max(batch.asked, time)
    batch.loaded |= spent.load_ms > 0


def _cost(batches: Sequence[_Batch]) -> tuple[Cost, dict[int, float]]:
    """What a model takes to compute, and the units of its requests, which are seconds here.

    (1) Many at once, each in its own time: it is stepped.
    (2) Else what it takes for a batch and for each request in it (least squares), and what passes
        between one and the next that waits for it.
    """
    # (1) Stepped.
    slots = _at_once(batches)
    if slots > 1:
        return Cost(unit_s=1.0, slots=slots), {
            number: batch.seconds for batch in batches for number in batch.numbers
        }
    # (2) In batches.
    base_s = _base(batches)
    units = {
        number: round(max(0.0, batch.seconds - base_s) / len(batch.numbers), 6)
        for batch in batches
        for number in batch.numbers
    }
    largest = max((len(batch.numbers) for batch in batches), default=1)
    return Cost(base_s=round(base_s + _between(batches), 6), unit_s=1.0, batch=largest), units


def _at_once(batches: Sequence[_Batch]) -> int:
    """How many were computed side by side where many were; else 1."""
    edges = sorted(
        edge for each in batches for edge in ((each.end - each.seconds, 1), (each.end, -1))
    )
    now = most = 0
    covered = last = 0.0
    for at, step in edges:
        covered += at - last if now else 0.0
        now, last = now + step, at
        most = max(most, now)
    busy = sum(each.seconds for each in batches)
    return most if busy > _STEPPED * covered > 0 else 1


def _base(batches: Sequence[_Batch]) -> float:
    """Seconds of a batch beside those for each request in it."""
    counts = [len(each.numbers) for each in batches]
    if len(set(counts)) < 2:
        return 0.0
    seconds = [each.seconds for each in batches]
    middle, mean = fmean(counts), fmean(seconds)
    pairs = zip(counts, seconds, strict=True)
    slope = sum((count - middle) * (each - mean) for count, each in pairs) / sum(
        (count - middle) ** 2 for count in counts
    )
    return min(max(0.0, mean - max(slope, 0.0) * middle), *seconds)


def _between(batches: Sequence[_Batch]) -> float:
    """Seconds from the end of a batch to the begin of one that had waited for it, on average."""
    ordered = sorted(batches, key=lambda each: each.end)
    gaps = [
        later.end - later.seconds - each.end
        for each, later in pairwise(ordered)
        if later.asked < each.end - later.seconds and not later.loaded
    ]
    return max(0.0, fmean(gaps)) if gaps else 0.0


def _with_means(
    asked: Sequence[Asked], batches: Mapping[str, Mapping[float, Sequence[_Batch]]]
) -> list[Asked]:
    """The requests, those without an answer at what others of their model took."""
    answered = {
        number
        for each in batches.values()
        for same in each.values()
        for one in same
        for number in one.numbers
    }
    taken: defaultdict[str, list[float]] = defaultdict(list)
    for number in answered:
        taken[asked[number].model].append(asked[number].units)
    means = {model: round(fmean(units), 6) for model, units in taken.items()}
    return [
        each if number in answered else replace(each, units=means.get(each.model, 0.0))
        for number, each in enumerate(asked)
    ]
