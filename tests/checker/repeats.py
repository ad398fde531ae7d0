"""Invariant I3: which repeated outcomes a crash, or a lost partition, explains. Pure.

For each fault there may be repeated
1. outcomes that were newer than the last commit of their partition seen before it: neither did it
   pass them, nor were they so old that its metadata told of them;
2. of those that came after it began, as many as were started on what it hit, since a process that
   has lost its partitions may have handed them over already.
A repeat belongs to the latest fault that can explain it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.checker.evidence import Fault, Outcome, Partition, Sample

# From an outcome's append to the first commit that may hold it: acknowledged, noted, committed.
UNTIL_COMMITTED_S = 1.0


class _Advance(NamedTuple):
    """A commit that moved a partition's offset: when it was seen, and after when it was made."""

    seen: float
    made_after: float
    offset: int


def repeated(outcomes: Iterable[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """The first outcome of a record with each later one."""
    found: dict[object, list[Outcome]] = defaultdict(list)
    for outcome in sorted(outcomes, key=lambda each: (each.appended, each.at)):
        found[outcome.source].append(outcome)
    return [(first, again) for first, *rest in found.values() for again in rest]


def unexplained(
    outcomes: Iterable[Outcome], samples: Sequence[Sample], faults: Iterable[Fault]
) -> Iterator[str]:
    """What is beyond I3, in words."""
    advances = _advances(samples)
    latest_first = sorted(faults, key=lambda fault: -fault.at)
    after: Counter[Fault] = Counter()
    for first, again in repeated(outcomes):
        seen = advances.get(first.source[:2], [])
        for fault in latest_first:
            if fault.at <= again.appended and not _was_committed(first, seen, fault):
                after[fault] += first.appended > fault.at
                break
        else:
            yield f"{first.source} ended again at {again.at}, and no fault explains it"
    for fault, count in after.items():
        if count > fault.started:
            yield f"{count} began before {fault.what} and ended twice after it, {fault.started} may"


def _was_committed(outcome: Outcome, advances: Sequence[_Advance], fault: Fault) -> bool:
    """Whether the last commit before the fault passed it, or was made late enough to tell of it."""
    count = bisect_left(advances, fault.at, key=lambda advance: advance.seen)
    if not count:
        return False
    last = advances[count - 1]
    told = outcome.appended < last.made_after - UNTIL_COMMITTED_S
    return told or outcome.source.offset < last.offset


def _advances(samples: Sequence[Sample]) -> dict[Partition, list[_Advance]]:
    found: dict[Partition, list[_Advance]] = defaultdict(list)
    for sample in samples:
        for partition, offset in sample.committed.items():
            known = found[partition]
            if not known or offset > known[-1].offset:
                known.append(_Advance(sample.at, sample.after, offset))
    return found
