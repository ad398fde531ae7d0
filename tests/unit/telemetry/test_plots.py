"""Panels as they are drawn: each series, none across what is missing, nothing that is no SVG."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.pictures.dashboards import BOARDS, expression, named
from tests.pictures.plots import MOST_SERIES, Series, dashboard_svg, unit

FILES = sorted(BOARDS.glob("*.json"))


def drawn(board: dict[str, Any], *series: Series) -> str:
    found = {each["id"]: series for each in board["panels"]}
    text = dashboard_svg(board, found, 0.0, 120.0)
    ElementTree.fromstring(text)
    return text


@pytest.mark.parametrize("path", FILES, ids=lambda each: each.stem)
def test_every_panel_is_drawn_with_and_without_what_is_told(path: Path) -> None:
    board = json.loads(path.read_text())
    for text in (drawn(board), drawn(board, Series("a<b>&", [(0.0, 1.0), (60.0, math.nan)]))):
        for panel in board["panels"]:
            assert panel["title"].replace("'", "&#x27;") in text
    assert drawn(board).count("nothing told") == sum(p["type"] != "stat" for p in board["panels"])


def test_points_that_are_far_apart_are_not_joined() -> None:
    board = json.loads(FILES[0].read_text())
    (only,) = board["panels"][:1]
    only["type"] = "timeseries"
    board["panels"] = [only]
    told = Series("m", [(0.0, 1.0), (2.0, 2.0), (60.0, 3.0), (62.0, math.nan), (64.0, 3.0)])
    (line,) = re.findall(r'<path d="(M[^"]*)" fill="none"', drawn(board, told))
    assert [line.count(letter) for letter in "ML"] == [3, 1]


def test_what_finds_no_room_below_is_counted() -> None:
    board = json.loads(FILES[0].read_text())
    series = [Series(f"s{n}", [(0.0, float(n))]) for n in range(MOST_SERIES + 3)]
    assert "and 3 more" in drawn(board, *series)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (0.5, "percentunit", "50 %"),
        (0.025, "s", "25 ms"),
        (90.0, "s", "90 s"),
        (3 << 30, "bytes", "3 GiB"),
        (0.0, "bytes", "0 B"),
        (1.5, "reqps", "1.5/s"),
        (12345.0, "none", "12345"),
    ],
)
def test_values_have_their_units(value: float, kind: str, said: str) -> None:
    assert unit(value, kind) == said


def test_queries_and_names_are_those_of_grafana() -> None:
    asked = expression('sum(rate(a{model=~"$model", device!="cpu"}[$__rate_interval]))')
    assert asked == 'sum(rate(a{model=~".*", device!=""}[20s]))'
    assert named("{{model}}@{{version}}", {"model": "m"}) == "m@"
