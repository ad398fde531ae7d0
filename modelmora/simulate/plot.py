"""An SVG of what a simulation says: waits and loads by memory, and what is held over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise

from modelmora.simulate.report import Outlook
from modelmora.text import duration, size

WIDTH, PANEL, LEFT, RIGHT, TOP = 760, 220, 90, 150, 40
_COLOURS = ("#2563a8", "#c2571a", "#3d8b40", "#8a4fa3", "#a33b3b", "#4c7a7a")
_POINTS = 600
_FONT = 'font-family="sans-serif" font-size="12"'
Line = tuple[str, Sequence[tuple[float, float]]]
"""What it is called, and its points."""


def plot(outlooks: Sequence[Outlook]) -> str:
    """The picture, as the text of an SVG file; `outlooks` are of one trace."""
    by_memory = sorted(outlooks, key=lambda each: each.memory)
    waits: list[Line] = [
        (name, [(each.memory, 1000 * (getattr(each.waits, name) or 0.0)) for each in by_memory])
        for name in ("mean", "p50", "p95", "p99")
    ]
    names = {"loads": "loads", "fifo_loads": "first in, first out", "belady_loads": "Belady"}
    loads: list[Line] = [
        (told, [(each.memory, getattr(each, name)) for each in by_memory])
        for name, told in names.items()
    ]
    held: list[Line] = [
        (size(each.memory), [*_steps(each.played.memory, each.seconds)]) for each in by_memory
    ]
    panels = (
        _panel(0, "Wait by memory", waits, size, duration),
        _panel(1, "Loads by memory", loads, size, "{:.0f}".format),
        _panel(2, "Held over time", held, lambda s: duration(1000 * s), size),
    )
    height = 3 * PANEL + TOP
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {_FONT}>',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *(line for panel in panels for line in panel),
            "</svg>\n",
        )
    )


def _steps(memory: Sequence[tuple[float, int]], end: float) -> Iterator[tuple[float, float]]:
    """What was held, as a line of steps: of each of so many spans the most."""
    span = (end or 1.0) / _POINTS
    most: dict[int, int] = {}
    for (at, held), (until, _) in pairwise([*memory, (end, 0)]):
        for number in range(int(at / span), int(until / span) + 1):
            most[number] = max(most.get(number, 0), held)
    for number, held in sorted(most.items()):
        yield number * span, held


def _panel(
    number: int,
    title: str,
    lines: Sequence[Line],
    across: Callable[[float], str],
    up: Callable[[float], str],
) -> Iterator[str]:
    """One diagram: lines, axes from nothing to the most, names at the right."""
    points = [point for _, line in lines for point in line]
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    most = max(y for _, y in points) or 1.0
    top, bottom = TOP + number * PANEL, TOP + (number + 1) * PANEL - 60
    right = WIDTH - RIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - low) / (high - low) if high > low else 0.5
        return LEFT + share * (right - LEFT), bottom - y / most * (bottom - top)

    yield f'<text x="{LEFT}" y="{top - 14}" font-weight="bold">{escape(title)}</text>'
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        yield f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>'
        yield _text(LEFT - 8, y + 4, up(share * most), "end")
    for x in sorted({low, (low + high) / 2, high}):
        yield _text(place(x, 0)[0], bottom + 18, across(x), "middle")
    for rank, (name, line) in enumerate(lines):
        colour = _COLOURS[rank % len(_COLOURS)]
        placed = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        yield f'<polyline points="{placed}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        if len(line) < _POINTS // 4:
            yield from (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
                for x, y in (place(*point) for point in line)
            )
        yield f'<text x="{right + 14}" y="{top + 14 * rank}" fill="{colour}">{escape(name)}</text>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="#444">{escape(text)}</text>'
