"""Whether a new version goes on to its next share, waits, or is rolled back; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean

from modelmora.routing.bounds import (
    least_difference,
    least_quantile,
    most_quantile,
    quantile,
    z_of,
)
from modelmora.settings.canaries import CanaryPlan

LEVELS = {"p50": 0.5, "p95": 0.95}
"""What is compared of latencies."""
SLACK_MS = 5.0
"""So much slower is never worse: it is the noise of a queue, and what is fast has much of it."""


class Verdict(StrEnum):
    """What is to be done with the candidate."""

    WAIT = "wait"
    GO_ON = "go_on"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class Seen:
    """The outcomes of one version: how many, how many failed, and how long the others took.

    `latencies` are in ms, the smallest first.
    """

    requests: int = 0
    failed: int = 0
    latencies: Sequence[float] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, why, and the numbers that it follows from, as facts of an event."""

    verdict: Verdict
    why: str
    numbers: Mapping[str, float]


def decide(
    plan: CanaryPlan,
    candidate: Seen,
    baseline: Seen,
    held_s: float,
    agreements: Sequence[float] = (),
) -> Decision:
    """What is to be done; `held_s` is for how long the step has counted.

    `agreements` is how far pairs of answers agree, each from 0 to 1.

    Both were seen over the same time, except where the candidate has all: then the baseline is
    that of the step before, without latencies, which are not compared.

    (1) There are too few of either: wait, however long.
    (2) It fails more, or is slower, by more than the plan allows, and that is sure: roll back.
    (3) What it answers agrees too little with the other: roll back; or of too little it is known.
    (4) The step is to be held longer: wait.
    (5) Else it goes on.
    """
    numbers = _numbers(plan, candidate, baseline)
    if agreements:
        numbers |= {"pairs": len(agreements), "agreement_share": round(fmean(agreements), 4)}
    # (1)
    for seen, whose in ((candidate, "the candidate"), (baseline, "the baseline")):
        if seen.requests < plan.samples:
            why = f"{whose} has {seen.requests} of {plan.samples} outcomes"
            return Decision(Verdict.WAIT, why, numbers)
    # (2)
    z = z_of(plan.confidence)
    if why := _fails_more(plan, candidate, baseline, z) or _is_slower(plan, candidate, baseline, z):
        return Decision(Verdict.ROLL_BACK, why, numbers)
    # (3)
    if plan.agreement is not None:
        if len(agreements) < plan.samples:
            why = f"{len(agreements)} of {plan.samples} pairs of answers have come"
            return Decision(Verdict.WAIT, why, numbers)
        if (mean := fmean(agreements)) < plan.agreement:
            why = f"it answers otherwise: agreement is {mean:.3f} where {plan.agreement:g} is asked"
            return Decision(Verdict.ROLL_BACK, why, numbers)
    # (4)
    if held_s < plan.hold_s:
        why = f"not worse so far; held for {max(held_s, 0):.0f} of {plan.hold_s:g} s"
        return Decision(Verdict.WAIT, why, numbers)
    # (5)
    return Decision(Verdict.GO_ON, f"not worse, held for {held_s:.0f} s", numbers)


def _fails_more(plan: CanaryPlan, candidate: Seen, baseline: Seen, z: float) -> str:
    least = least_difference(
        (candidate.failed, candidate.requests), (baseline.failed, baseline.requests), z
    )
    if least <= plan.more_errors:
        return ""
    return (
        f"it fails more: {candidate.failed} of {candidate.requests} against {baseline.failed} of "
        f"{baseline.requests}, by {least:.2%} at least where {plan.more_errors:.2%} is allowed"
    )


def _is_slower(plan: CanaryPlan, candidate: Seen, baseline: Seen, z: float) -> str:
    """Where the lower bound of one is above the upper bound of the other: stricter than need be."""
    for name, level in LEVELS.items():
        least = least_quantile(candidate.latencies, level, z)
        most = most_quantile(baseline.latencies, level, z)
        if least is None or most is None or least <= most * plan.slower + SLACK_MS:
            continue
        return (
            f"it is slower: {name} is {least:.0f} ms at least against {most:.0f} ms at most, and "
            f"{plan.slower:g} times that is allowed"
        )
    return ""


def _numbers(plan: CanaryPlan, candidate: Seen, baseline: Seen) -> dict[str, float]:
    found: dict[str, float] = {}
    for whose, seen in (("candidate", candidate), ("baseline", baseline)):
        found[f"{whose}_requests"] = seen.requests
        if seen.requests:
            found[f"{whose}_failed_share"] = round(seen.failed / seen.requests, 4)
        for name, level in LEVELS.items() if seen.latencies else ():
            found[f"{whose}_{name}_ms"] = round(quantile(seen.latencies, level), 1)
    if candidate.requests and baseline.requests:
        z = z_of(plan.confidence)
        pairs = (candidate.failed, candidate.requests), (baseline.failed, baseline.requests)
        found["worse_least_share"] = round(max(0.0, least_difference(*pairs, z)), 4)
    return found
