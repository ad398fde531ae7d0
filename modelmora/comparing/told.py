"""A report in words and numbers, as its table and its page both tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from modelmora.comparing.report import MEASURES, Case, Report, Side, Spread
from modelmora.text import counted, duration, size

COMPLETED = "completed"
MOST_REASONS = 8


class Row(NamedTuple):
    """What is told of both versions, and of the second in parts of the first."""

    name: str
    baseline: str | None
    candidate: str | None
    ratio: str | None = None


class Line(NamedTuple):
    """One measure over all pairs."""

    name: str
    pairs: int
    mean: str
    median: str
    most: str
    worst: str


def headline(report: Report) -> str:
    """What was compared, in a line."""
    asked = report.asked
    how = "a live shadow" if asked.since_ms is None else "past requests"
    return f"{asked.candidate} against {asked.baseline}: {counted(report.pairs, 'pair')} of {how}"


def lines(report: Report) -> Iterator[Line]:
    """The measures, in the order of `MEASURES`."""
    for name, spread in report.measures.items():
        told = MEASURES[name].told
        numbers = (spread.mean, spread.p50, spread.p95, spread.worst)
        yield Line(MEASURES[name].name, spread.pairs, *map(told, numbers))


def rows(report: Report) -> Iterator[Row]:
    """What both versions took; what nobody knows of either is left out."""
    before, after = report.baseline, report.candidate
    yield Row("completed", *(str(each.ended.get(COMPLETED, 0)) for each in (before, after)))
    yield Row("failed", *(str(_failed(each)) for each in (before, after)))
    times = [
        _times(f"device time, {told}", _at(before.device_ms, name), _at(after.device_ms, name))
        for told, name in (("median", "p50"), ("95 %", "p95"), ("mean", "mean"))
    ]
    found = (
        *(each if report.alike else each._replace(ratio=None) for each in times),
        _row("tokens, mean", before.tokens, after.tokens, "{:.1f}".format),
        _row("pixels, mean", before.pixels, after.pixels, "{:.0f}".format),
        _row("memory", before.needs.memory_bytes, after.needs.memory_bytes, size),
        _row("GPU memory", before.needs.gpu_bytes, after.needs.gpu_bytes, size),
        _times("load", before.needs.load_ms, after.needs.load_ms),
    )
    yield from (each for each in found if each.baseline or each.candidate)


def warning(report: Report) -> str:
    """What is to be known of the device times, "" for nothing."""
    if report.alike or not report.baseline.device_ms:
        return ""
    return (
        f"device times of {report.asked.baseline} are those of its callers' batches, of "
        f"{report.asked.candidate} those of single copies: they cannot be compared (--since with "
        "--fresh asks both alike)"
    )


def reasons(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Why, and how often, the most first."""
    told = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    shown, others = told[:MOST_REASONS], sum(count for _, count in told[MOST_REASONS:])
    return [*shown, ("other reasons", others)] if others else shown


def case(found: Case) -> str:
    """What is told of one pair, beside its id and agreement."""
    measures = [
        f"{MEASURES[name].name} {MEASURES[name].told(value)}"
        for name, value in found.measures.items()
        if name != "same" and name in MEASURES
    ]
    return ", ".join(([found.why] if found.why else []) + measures)


def took(found: Case) -> str:
    """How long the device computed for both."""
    if not found.candidate_ms:
        return f"{duration(found.baseline_ms)}, -"
    return f"{duration(found.baseline_ms)}, {duration(found.candidate_ms)}"


def _failed(side: Side) -> int:
    return sum(count for how, count in side.ended.items() if how != COMPLETED)


def _at(spread: Spread | None, name: str) -> float | None:
    return None if spread is None else float(getattr(spread, name))


def _times(name: str, before: float | None, after: float | None) -> Row:
    return _row(name, before, after, duration)


def _row(name: str, before: float | None, after: float | None, told: Callable[[float], str]) -> Row:
    return Row(
        name,
        None if before is None else told(before),
        None if after is None else told(after),
        f"{after / before:.2f}" if before and after is not None else None,
    )
