"""The mark `row`, the fixture `figures`, and `--record FILE`, which keeps what a run has shown."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from tests.checker import Verdict
from tests.faults.matrix import ROWS

SHOWN = "row"
"""The user property of a report that carries rows and figures to the process that writes them."""


FIGURES = pytest.StashKey["Figures"]()


@dataclass(slots=True)
class Figures:
    """What one test has seen; None stands for what it does not measure.

    `recovered_s` is the longest time, in seconds, from the end of a fault to the first outcome.
    """

    requests: int | None = None
    faults: int | None = None
    lost: int | None = None
    contradicting: int | None = None
    repeated: int | None = None
    recovered_s: float | None = None

    def judged(self, verdict: Verdict, faults: int) -> None:
        """Take what the checker has counted, behind so many faults."""
        counts = verdict.counts
        self.add(
            requests=counts["requests"],
            faults=faults,
            lost=counts["lost"],
            contradicting=counts["contradicting"],
            repeated=counts["repeated"],
        )

    def add(self, **counts: int) -> None:
        """Add to what was counted so far."""
        for name, count in counts.items():
            setattr(self, name, (getattr(self, name) or 0) + count)

    def recovered(self, seconds: float) -> None:
        """Keep it when nothing took longer."""
        self.recovered_s = round(max(seconds, self.recovered_s or 0.0), 2)

    def join(self, other: Figures) -> Figures:
        """Counts added, times compared; for the cases of one test, or the tests of one row."""
        joined = Figures()
        for each in fields(Figures):
            known = [
                v for v in (getattr(self, each.name), getattr(other, each.name)) if v is not None
            ]
            combine: Callable[..., Any] = max if each.name == "recovered_s" else sum
            setattr(joined, each.name, combine(known) if known else None)
        return joined


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Figures of this test, for the rows that its mark names."""
    seen = Figures()
    request.node.stash[FIGURES] = seen
    return seen


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that hears of all reports writes."""
    path = config.getoption("--record", None)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(path)))


def pytest_itemcollected(item: pytest.Item) -> None:
    """A row that is not in the table is a mistake."""
    for row in rows_of(item):
        if row not in ROWS:
            raise pytest.UsageError(f"{item.nodeid}: {row!r} is no row of tests/faults/matrix.py")


def rows_of(item: pytest.Item) -> list[str]:
    """The rows that a test proves."""
    return [str(row) for mark in item.iter_markers("row") for row in mark.args]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Give the report what the test has seen; it may have run in another process."""
    if call.when == "call" and (rows := rows_of(item)):
        seen = item.stash.get(FIGURES, Figures())
        item.user_properties.append((SHOWN, json.dumps([rows, asdict(seen)])))


class Recorder:
    """Collects from the reports of a run, and writes at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._passed: dict[tuple[str, str], Figures] = {}
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what passed; cases of one test are one."""
        test = report.nodeid.partition("[")[0]
        if report.failed:
            self._failed.add(test)
        if report.when != "call" or not report.passed:
            return
        for rows, seen in (
            json.loads(str(text)) for name, text in report.user_properties if name == SHOWN
        ):
            for row in rows:
                known = self._passed.get((row, test), Figures())
                self._passed[row, test] = known.join(Figures(**seen))

    def pytest_sessionfinish(self) -> None:
        """Write; a test of which a case failed keeps what it had."""
        kept = read(self._path)
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        for (row, test), seen in self._passed.items():
            if test not in self._failed:
                known = {name: value for name, value in asdict(seen).items() if value is not None}
                kept.setdefault(row, {})[test] = {"date": today, **known}
        write(self._path, kept)


Kept = dict[str, dict[str, dict[str, Any]]]


def read(path: Path) -> Kept:
    """By row and test: the date, and the figures; empty where nothing was recorded."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, kept: Kept) -> None:
    """In the order of the table, one line a test."""
    order = list(ROWS)
    lines = [
        f' "{row}": {{\n'
        + ",\n".join(f'  "{test}": {json.dumps(seen)}' for test, seen in sorted(kept[row].items()))
        + "\n }"
        for row in sorted(kept, key=order.index)
    ]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n" if lines else "{}\n")
