"""The table of docs/security.md: every demand is held by tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.named import is_test

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
ROWS = {
    cells[1].strip(): cells
    for line in PAGE.read_text().splitlines()
    if (cells := line.split("|"))[1:2] and re.fullmatch(r" S\d+ ", cells[1])
}


def test_every_row_is_there() -> None:
    assert [*ROWS] == [f"S{number}" for number in range(1, 21)]


@pytest.mark.parametrize("row", ROWS)
def test_each_demand_has_its_tests_and_its_bounds(row: str) -> None:
    _, _, demand, tests, uncovered, _ = ROWS[row]
    assert demand.strip()
    assert uncovered.strip(), "say what it does not cover"
    named = re.findall(r"`([^`]+)`", tests)
    assert named
    assert [each for each in named if not is_test(each)] == []
