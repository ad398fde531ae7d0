"""A report as one HTML file: no scripts, nothing loaded from anywhere, all of it escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from modelmora.comparing.report import MEASURES, Report, Spread
from modelmora.comparing.told import case, headline, lines, reasons, rows, took, warning
from modelmora.text import duration, iso, printable, shorten
from modelmora.web.look import document

_STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0; }
.card { padding: .8rem 1rem; background: var(--panel); border: 1px solid var(--rim);
  border-radius: .6rem; }
.card b { display: block; font-size: 1.5rem; line-height: 1.3; font-weight: 650; }
.card span { color: var(--soft); font-size: .85rem; }
.n td, .n th { padding-right: 1.1rem; }
.n td:not(:first-child), .n th:not(:first-child) { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.n td:last-child { width: auto; }
.w td:nth-child(2), .w td:nth-child(3) { white-space: nowrap; font-variant-numeric: tabular-nums; }
.w code { font-size: .8rem; }
svg.plot { width: 100%; height: auto; margin: .25rem 0 0; }
svg.plot text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg.plot .axis { stroke: var(--rim); } svg.plot .line { fill: none; stroke: var(--strong);
  stroke-width: 2; } svg.plot .area { fill: var(--strong); opacity: .12; }
svg.plot .before { fill: var(--soft); opacity: .55; } svg.plot .after { fill: var(--strong); }
@media print { body { font-size: 12px; } }
"""
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 860, 210, 70, 12, 34
BAR = 22


def page(report: Report) -> str:
    """The text of the file."""
    asked = report.asked
    title = f"{asked.candidate} against {asked.baseline}"
    body = "".join(
        (
            f"<h1>{_text(title)}</h1>",
            f'<p class="soft">{_text(_about(report))}</p>',
            _cards(report),
            _agreement(report),
            _measures(report),
            _both(report),
            _why("Answered otherwise", "Pairs that could not be measured", report.unlike),
            _why("Left out", "Requests that tell nothing of the candidate", report.left_out),
            _worst(report),
        )
    )
    return document(printable(title), body, {}, style=_STYLE)


def _about(report: Report) -> str:
    asked = report.asked
    parts = [headline(report).partition(": ")[2]]
    if asked.since_ms is not None and asked.until_ms is not None:
        parts.append(f"asked from {_minute(asked.since_ms)} to {_minute(asked.until_ms)}")
    parts += [f"task {asked.task}"] if asked.task else []
    return ", ".join([*parts, f"comparison {asked.comparison}"])


def _minute(milliseconds: int) -> str:
    return iso(milliseconds)[:16].replace("T", " ")


def _cards(report: Report) -> str:
    agreement, same, slower = report.agreement, report.measures.get("same"), report.slower
    shown = (
        (_mean("agreement", agreement), "mean agreement"),
        (MEASURES["agreement"].told(agreement.worst) if agreement else "-", "the worst pair"),
        (_mean("same", same), "answered the same bytes"),
        (f"{slower[0]:.2f} x" if slower else "-", "device time at the median"),
    )
    cells = (
        f'<div class="card"><b>{_text(value)}</b><span>{_text(name)}</span></div>'
        for value, name in shown
    )
    return f'<div class="cards">{"".join(cells)}</div>'


def _mean(name: str, spread: Spread | None) -> str:
    return MEASURES[name].told(spread.mean) if spread else "-"


def _agreement(report: Report) -> str:
    """The agreement of all pairs as a curve, the worst at the left."""
    if len(report.curve) < 2:
        return ""
    least = min(report.curve)
    low = 0.0 if least < 0.5 else max(0.0, 1 - 2 * (1 - least)) if least < 1 else 0.9
    right, floor = WIDTH - 16, HEIGHT - BOTTOM
    steps = len(report.curve) - 1
    points = [
        (LEFT + at / steps * (right - LEFT), floor - (each - low) / (1 - low) * (floor - TOP))
        for at, each in enumerate(report.curve)
    ]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    marks = [
        f'<path class="axis" d="M{LEFT} {y:.1f}H{right}"/>{_label(LEFT - 8, y + 4, told, "end")}'
        for share in (0.0, 0.5, 1.0)
        for y, told in [
            (floor - share * (floor - TOP), MEASURES["agreement"].told(low + share * (1 - low)))
        ]
    ]
    marks += [
        _label(LEFT + share * (right - LEFT), HEIGHT - 12, told, anchor)
        for share, told, anchor in (
            (0.0, "the worst pair", "start"),
            (0.5, "half of the pairs", "middle"),
            (1.0, "the best pair", "end"),
        )
    ]
    return (
        "<h2>Agreement of the pairs</h2>"
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Agreement from the worst pair to the best">{"".join(marks)}'
        f'<polygon class="area" points="{LEFT},{floor} {drawn} {right},{floor}"/>'
        f'<polyline class="line" points="{drawn}"/></svg>'
    )


def _measures(report: Report) -> str:
    head = ("measure", "pairs", "mean", "median", "95 % as good as", "worst")
    found = [(name, str(pairs), *others) for name, pairs, *others in lines(report)]
    return f"<h2>Measures</h2>{_table(head, found, 'n')}" if found else ""


def _both(report: Report) -> str:
    head = ("", report.asked.baseline, report.asked.candidate, "ratio")
    found = [tuple(each or "-" for each in row) for row in rows(report)]
    bars = _bars(report) if report.alike else ""
    note = (
        f'<p class="soft">{_text(told[0].upper() + told[1:])}.</p>'
        if (told := warning(report))
        else ""
    )
    return f"<h2>What they took</h2>{bars}{_table(head, found, 'n')}{note}"


def _bars(report: Report) -> str:
    """The device time of both at the median and at 95 %."""
    before, after = report.baseline.device_ms, report.candidate.device_ms
    if not before or not after or not (most := max(before.p95, after.p95)):
        return ""
    asked = report.asked
    bars = [
        ("median", "before", before.p50, asked.baseline),
        ("", "after", after.p50, asked.candidate),
        ("95 %", "before", before.p95, asked.baseline),
        ("", "after", after.p95, asked.candidate),
    ]
    drawn = []
    for number, (name, kind, value, model) in enumerate(bars):
        y = TOP + number * BAR + (number > 1) * 10
        wide = value / most * (WIDTH - LEFT - 260)
        told = f"{duration(value)}  {shorten(model, 24)}"
        drawn.append(
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{wide:.1f}" height="{BAR - 4}" '
            f'rx="2"/>{_label(LEFT + wide + 8, y + 13, told, "start")}'
            + (_label(LEFT - 8, y + 13, name, "end") if name else "")
        )
    high = TOP + 4 * BAR + 14
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {high}" role="img" '
        f'aria-label="Device time of both versions">{"".join(drawn)}</svg>'
    )


def _why(title: str, about: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    found = [(why, str(count)) for why, count in reasons(counts)]
    return f"<h2>{_text(title)}</h2>{_table((about, 'pairs'), found, 'n')}"


def _worst(report: Report) -> str:
    if not report.worst:
        return ""
    told = MEASURES["agreement"].told
    found = [
        (each.request_id, told(each.agreement), took(each), case(each)) for each in report.worst
    ]
    table = _table(("request", "agreement", "device time", "what"), found, "w", code=True)
    return f"<h2>Worst cases</h2>{table}"


def _table(
    head: Sequence[str], found: Iterable[Sequence[str]], kind: str, *, code: bool = False
) -> str:
    """A table; with `code` its first column is shown as such."""
    top = "".join(f"<th>{_text(name)}</th>" for name in head)
    body = "".join(
        f"<tr>{''.join(_cell(cell, code=code and not at) for at, cell in enumerate(row))}</tr>"
        for row in found
    )
    return f'<div class="wide"><table class="{kind}"><tr>{top}</tr>{body}</table></div>'


def _cell(text: str, *, code: bool) -> str:
    told = f"<code>{_text(text)}</code>" if code else _text(text)
    return f"<td>{told}</td>"


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(text)}</text>'


def _text(text: str) -> str:
    return escape(printable(text))
