"""Figures, their goals, and how they are told."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from modelmora.bench.report import Figure, at_least, at_most, show, write

FAST = Figure("a.rate", 2.0, "ratio", at_least(1.5), 100.0, {"ours /s": 200.0})
SLOW = Figure("b.wait", 3.0, "ms", at_most(2))
KNOWN = Figure("c.cost", 4.0, "us")


def test_a_goal_is_a_bound_on_one_side() -> None:
    assert at_least(1.5).reached(1.5)
    assert not at_least(1.5).reached(1.49)
    assert at_most(2).reached(2)
    assert not at_most(2).reached(2.01)


def test_the_file_names_machine_values_baselines_and_goals(tmp_path: Path) -> None:
    write([FAST, SLOW, KNOWN], tmp_path / "bench.json")
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["machine"]["cores"]
    assert content["results"][0] == {
        "name": "a.rate",
        "value": 2.0,
        "unit": "ratio",
        "baseline": 100.0,
        "goal": ">= 1.5",
        "reached": True,
        "beside": {"ours /s": 200.0},
    }
    assert content["results"][1]["reached"] is False
    assert content["results"][2]["goal"] is content["results"][2]["reached"] is None


def test_the_table_says_what_was_missed() -> None:
    out = io.StringIO()
    show([FAST, SLOW, KNOWN], Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert "ok" in lines[1]
    assert "missed" in lines[2]
    assert lines[3].split() == ["c.cost", "4"]
    assert [each.missed for each in (FAST, SLOW, KNOWN)] == [False, True, False]
