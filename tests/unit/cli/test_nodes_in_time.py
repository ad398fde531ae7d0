"""`modelmora capacity`: a row for each number of nodes, and in one line what to do with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.runs import Cli

MODEL = '{"models":{"a@1":{"load_s":1,"bytes":2000,"unit_s":1}}}\n'
ONCE = '{"time":0,"model":"a@1"}\n'


@pytest.fixture
def trace(cli: Cli) -> None:
    cli("traffic", "invent", "t.jsonl", "--models", "6", "--seconds", "120", "--rate", "8")


def test_rows_up_to_the_first_that_is_enough(cli: Cli, trace: None) -> None:
    ran = cli("capacity", "t.jsonl", "--within", "3", "--memory", "4G,32G", "--nodes", "1..6")
    lines = ran.out.splitlines()
    assert lines[0].split()[:3] == ["NODES", "MEMORY", "HELD"]
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith("enough")
    assert "95.0 % within 3 s; one more, and one may be missing" in ran.err


def test_json_has_all(cli: Cli, trace: None) -> None:
    told = cli("capacity", "t.jsonl", "--within", "3", "--memory", "4G", "--nodes", "2", "--json")
    (plan,) = told.json
    assert (plan["nodes"], plan["memory_bytes"]) == (2, 4_000_000_000)
    assert plan["enough"] == (plan["in_time_share"] >= 0.95)
    assert plan["busiest_share"] >= 0.5


def test_where_none_is_enough_the_model_to_be_spread_is_named(cli: Cli) -> None:
    Path("t.jsonl").write_text(MODEL + 9 * ONCE)
    ran = cli("capacity", "t.jsonl", "--within", "2", "--memory", "1M", "--nodes", "1..3")
    assert "none of these is enough for 95.0 % within 2 s" in ran.err
    assert "8 of those that are late are of a@1, which lies on one partition: `spread`" in ran.err


def test_who_has_no_room_is_named_and_is_not_told_to_spread(cli: Cli) -> None:
    Path("t.jsonl").write_text(MODEL + ONCE)
    ran = cli("capacity", "t.jsonl", "--within", "2", "--memory", "1k", "--nodes", "2")
    assert "with 1.0 kB there is no room for a@1" in ran.err
    assert "spread" not in ran.err


@pytest.mark.parametrize("nodes", ["0", "3..1", "x", "1..", "..", "-1", "1..99999", "\u0661"])
def test_numbers_that_are_none_are_refused(cli: Cli, nodes: str) -> None:
    ran = cli("capacity", "t.jsonl", "--within", "2", f"--nodes={nodes}")
    assert ran.code == 2
    assert "must be a number or a range, such as 1..8" in ran.err
