"""Renders the matrix in docs/reliability.md: `python -m tests.faults.report`, behind `--record`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from tests.faults.matrix import ROWS, marked
from tests.faults.recording import Figures, Kept, read, write

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- /matrix -->\n"
HEADER = (
    "| row | fault | promise | tests | requests | faults | lost | contradicting | repeated | "
    "back within | run |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def table(kept: Kept) -> str:
    """The rows in their order; a dash stands for what a row does not measure."""
    return HEADER + "".join(f"| {' | '.join(_cells(row, kept.get(row, {})))} |\n" for row in ROWS)


def _cells(row: str, tests: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from (row, ROWS[row].fault, ROWS[row].promise, str(len(tests) or "-"))
    dates = [str(seen["date"]) for seen in tests.values()]
    each = (Figures(**{k: v for k, v in seen.items() if k != "date"}) for seen in tests.values())
    seen = reduce(Figures.join, each, Figures())
    for count in (seen.requests, seen.faults, seen.lost, seen.contradicting, seen.repeated):
        yield "-" if count is None else f"{count:,}"
    yield "-" if seen.recovered_s is None else f"{seen.recovered_s:g} s"
    yield min(dates, default="-")


def current(kept: Kept) -> Kept:
    """Without tests that are gone, or prove another row now."""
    there = marked()
    pruned = {
        row: {t: v for t, v in tests.items() if t in there[row]} for row, tests in kept.items()
    }
    return {row: tests for row, tests in pruned.items() if tests}


def between(text: str) -> str:
    """What stands between the marks of the page."""
    return text.partition(BEGIN)[2].partition(END)[0]


def main() -> int:
    """Bring both files up to date."""
    kept = current(read(KEPT))
    write(KEPT, kept)
    text = PAGE.read_text()
    PAGE.write_text(text.replace(BEGIN + between(text) + END, BEGIN + table(kept) + END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
