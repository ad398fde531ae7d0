"""Panels of a dashboard as one SVG: no Grafana, the same queries, titles and places."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d", "#bab0ac")
CELL, ROW = 40, 26
"""One of Grafana's 24 columns, and one of its rows, in pixels."""
LEFT, TOP, BOTTOM, RIGHT, LINE = 62, 30, 22, 22, 15
GAP_S = 10.0
"""Points that are further apart are not joined."""
LETTER = 6.6
"""About how wide one is."""
MOST_SERIES = 6
"""So many are named below a panel; the others are counted."""
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: (Unix seconds, value)."""

    name: str
    points: Points


def unit(value: float, kind: str) -> str:
    """A value with its unit, as Grafana's `unit` names it."""
    if kind == "percentunit":
        return f"{100 * value:.3g} %"
    if kind == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    steps = (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")
    if kind == "bytes":
        found = next(((size, name) for size, name in steps if abs(value) >= size), (1, "B"))
        return f"{value / found[0]:.3g} {found[1]}"
    whole = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{whole}/s" if kind == "reqps" else whole


def _top(series: Sequence[Series], kind: str, most: float | None) -> float:
    """A round number that no value passes."""
    if most is not None:
        return most
    values = [y for each in series for _, y in each.points if math.isfinite(y)]
    highest = max(values, default=0.0)
    if highest <= 0:
        return 1.0
    base = 1024.0 ** math.floor(math.log(highest, 1024)) if kind == "bytes" else 1.0
    power: float = base * 10.0 ** math.floor(math.log10(highest / base))
    return next(power * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * step >= highest)


def _path(points: Points, began: float, ended: float, box: tuple[float, ...], top: float) -> str:
    """Straight lines between points, and none across what is missing."""
    left, upper, width, height = box
    said, before = [], None
    for x, y in points:
        if not math.isfinite(y):
            before = None
            continue
        at = left + width * (x - began) / (ended - began)
        up = upper + height * (1 - min(max(y / top, 0.0), 1.0))
        said.append(f"{'M' if before is None or x - before > GAP_S else 'L'}{at:.1f} {up:.1f}")
        before = x
    return "".join(said)


def _frame(panel: Mapping[str, Any], x: float, y: float, width: float, height: float) -> str:
    wide, high = width - 6, height - 6
    return (
        f'<rect x="{x + 3}" y="{y + 3}" width="{wide}" height="{high}" rx="3" class="panel"/>'
        f'<text x="{x + 12}" y="{y + 21}" class="title">{escape(panel["title"])}</text>'
    )


def panel_svg(
    panel: Mapping[str, Any], series: Sequence[Series], began: float, ended: float
) -> str:
    """One panel at its place."""
    place, defaults = panel["gridPos"], panel["fieldConfig"]["defaults"]
    x, y = place["x"] * CELL, place["y"] * ROW
    width, height = place["w"] * CELL, place["h"] * ROW
    kind = defaults["unit"]
    parts = [_frame(panel, x, y, width, height)]
    if panel["type"] == "stat":
        last = next((p for each in series for _, p in reversed(each.points) if p == p), math.nan)
        text = "no data" if math.isnan(last) else unit(last, kind)
        parts.append(
            f'<text x="{x + width / 2}" y="{y + height / 2 + 22}" class="stat">{text}</text>'
        )
        return "".join(parts)
    named = sorted(series, key=lambda each: -max((v for _, v in each.points if v == v), default=0))
    left, upper = x + LEFT, y + TOP
    inner = width - LEFT - RIGHT, height - TOP - BOTTOM - LINE
    box, top = (left, upper, *inner), _top(series, kind, defaults.get("max"))
    for share in (0.0, 0.5, 1.0):
        at = upper + inner[1] * (1 - share)
        parts.append(f'<path d="M{left} {at:.1f}h{inner[0]}" class="grid"/>')
        parts.append(
            f'<text x="{left - 6}" y="{at + 4:.1f}" class="axis">{unit(top * share, kind)}</text>'
        )
    for minute in range(int((ended - began) // 60) + 1):
        at = left + inner[0] * 60 * minute / (ended - began)
        parts.append(
            f'<text x="{at:.1f}" y="{upper + inner[1] + 14:.1f}" class="time">{minute} min</text>'
        )
    for number, each in enumerate(named):
        colour = COLOURS[number % len(COLOURS)]
        line = _path(each.points, began, ended, box, top)
        parts.append(f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    parts.append(_legend(named, x + 12, y + height - 10, width - 24))
    return "".join(parts)


def _legend(series: Sequence[Series], x: float, y: float, width: float) -> str:
    if not series:
        return f'<text x="{x}" y="{y}">nothing told</text>'
    said, at, count = [], x, 0
    for each in series[:MOST_SERIES]:
        name = each.name or "all"
        if at + LETTER * len(name) + 14 > x + width - 60:
            break
        colour = COLOURS[count % len(COLOURS)]
        said.append(f'<rect x="{at:.0f}" y="{y - 5}" width="10" height="3" fill="{colour}"/>')
        said.append(f'<text x="{at + 14:.0f}" y="{y}">{escape(name)}</text>')
        at += LETTER * len(name) + 26
        count += 1
    if count < len(series):
        said.append(f'<text x="{at:.0f}" y="{y}">and {len(series) - count} more</text>')
    return "".join(said)


STYLE = """
text{font-family:system-ui,sans-serif;font-size:11px;fill:#5a6270}
.panel{fill:#ffffff;stroke:#dfe3e8}.title{font-size:13px;font-weight:600;fill:#1f2733}
.axis{text-anchor:end}.time{text-anchor:middle}.grid{stroke:#e8ebef}
.stat{font-size:34px;text-anchor:middle;fill:#2f6f4f}
"""


def dashboard_svg(
    board: Mapping[str, Any], found: Mapping[int, Sequence[Series]], began: float, ended: float
) -> str:
    """A dashboard whose panels, by id, have these series."""
    panels = board["panels"]
    height = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in panels) * ROW
    drawn = "\n".join(panel_svg(each, found.get(each["id"], ()), began, ended) for each in panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * CELL} {height}" '
        f'role="img" aria-label="{escape(board["title"])}">\n<style>{STYLE}</style>\n'
        f'<rect width="100%" height="100%" fill="#f4f6f8"/>\n{drawn}\n</svg>\n'
    )
