"""The matrix agrees with its tests, its record and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checker import Verdict
from tests.faults.matrix import ROWS, marked
from tests.faults.recording import Figures, Kept, read, write
from tests.faults.report import END, KEPT, PAGE, between, current, table

pytest_plugins = ("pytester",)


def test_every_row_has_a_test_and_every_mark_a_row() -> None:
    found = marked()
    assert set(found) == set(ROWS)
    assert [row for row, tests in found.items() if not tests] == []


def test_the_record_is_of_tests_that_are_there() -> None:
    assert current(read(KEPT)) == read(KEPT)


def test_the_page_shows_the_record() -> None:
    text = PAGE.read_text()
    assert END in text
    assert between(text) == table(read(KEPT))


def test_nothing_was_lost_or_contradicted() -> None:
    for row, tests in read(KEPT).items():
        for name, seen in tests.items():
            assert not seen.get("lost"), (row, name)
            assert not seen.get("contradicting"), (row, name)


def test_figures_of_cases_and_tests_are_joined() -> None:
    one, other = Figures(faults=2), Figures(requests=3)
    one.add(faults=1)
    one.recovered(1.5)
    one.recovered(0.5)
    other.judged(Verdict((), {"requests": 4, "lost": 0, "contradicting": 0, "repeated": 1}), 5)
    assert one.join(other) == Figures(7, 8, 0, 0, 1, 1.5)


def test_a_record_is_kept_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    kept: Kept = {
        "F10": {"b::t": {"date": "d"}, "a::t": {"date": "d", "faults": 1}},
        "F2": {"c::t": {}},
    }
    write(path, kept)
    assert read(path) == kept
    assert list(json.loads(path.read_text())) == ["F2", "F10"]


def test_what_a_run_shows_is_recorded(pytester: pytest.Pytester) -> None:
    """The cases of a test together; nothing of one that failed."""
    pytester.makeconftest(
        "from tests.faults.recording import *\n"
        "def pytest_addoption(parser): parser.addoption('--record')"
    )
    pytester.makeini(
        "[pytest]\nmarkers =\n    row(id): a row\nasyncio_default_fixture_loop_scope = function"
    )
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.row("F1", "F2")
        @pytest.mark.parametrize("lost", [0, 0])
        def test_two(figures, lost):
            figures.add(requests=2, lost=lost)

        @pytest.mark.row("F3")
        def test_bad():
            assert False
        """
    )
    pytester.runpytest_inprocess("--record", "seen.json", "-p", "no:randomly")
    kept = read(pytester.path / "seen.json")
    assert set(kept) == {"F1", "F2"}
    (seen,) = kept["F1"].values()
    assert list(kept["F1"]) == ["test_it.py::test_two"]
    assert {k: v for k, v in seen.items() if k != "date"} == {"requests": 4, "lost": 0}
