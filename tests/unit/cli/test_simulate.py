"""`modelmora simulate`: traffic made up, read and played; what is wrong in one line."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.unit.cli.runs import Cli


@pytest.fixture
def trace(cli: Cli, tmp_path: Path) -> Path:
    made = cli("traffic", "invent", "t.jsonl", "--models", "4", "--seconds", "60", "--seed", "3")
    assert re.fullmatch(r"t\.jsonl: \d+ requests of 4 models\n", made.err)
    return tmp_path / "t.jsonl"


def test_budgets_beside_each_other(cli: Cli, trace: Path) -> None:
    ran = cli("simulate", "t.jsonl", "--memory", "4G,16Gi", "--plot", "t.svg")
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert lines[0].split() == [
        "MEMORY", "HELD", "LOADS", "FIFO", "BELADY", "EXPIRED", "MEAN", "P50", "P95", "P99"
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == ["4.0", "17.2"]
    assert max(map(len, lines)) <= 80
    ElementTree.fromstring(Path("t.svg").read_text())


def test_one_budget_has_models_and_lanes(cli: Cli, trace: Path) -> None:
    ran = cli("simulate", "t.jsonl", "--memory", "8G", "--threads", "2")
    rows = [line.split()[:2] for line in ran.out.splitlines()]
    assert ["model-01@1", "critical"] in rows
    assert max(map(len, ran.out.splitlines())) <= 80


def test_json_has_all(cli: Cli, trace: Path) -> None:
    told = cli("simulate", "t.jsonl", "--memory", "4G,8G", "--json").json
    assert [each["memory_bytes"] for each in told] == [4_000_000_000, 8_000_000_000]
    for each in told:
        assert each["requests"] == each["answered"] + each["expired"]
        assert each["requests"] == sum(row["requests"] for row in each["models"])
        assert each["belady_loads"] <= each["fifo_loads"]
        assert each["mean"] <= each["p99"]
    assert cli("simulate", "t.jsonl", "--memory", "4G,8G", "--json").json == told


def test_the_same_seed_makes_the_same_file(cli: Cli, trace: Path) -> None:
    before = trace.read_bytes()
    cli("traffic", "invent", "t.jsonl", "--models", "4", "--seconds", "60", "--seed", "3")
    assert trace.read_bytes() == before


def test_who_has_no_room_is_named(cli: Cli) -> None:
    Path("t.jsonl").write_text(
        '{"models":{"a@1":{"load_s":1,"bytes":2000}}}\n{"time":0,"model":"a@1"}\n'
    )
    ran = cli("simulate", "t.jsonl", "--memory", "1k", "--plot", "t.svg")
    assert (ran.code, ran.err) == (0, "with 1.0 kB there is no room for a@1\n")
    ElementTree.fromstring(Path("t.svg").read_text())


@pytest.mark.parametrize("memory", ["4X", "", "4G,", "-1", "0", "1e3", "4 G G", "999999999999Ti"])
def test_a_budget_is_bytes(cli: Cli, trace: Path, memory: str) -> None:
    ran = cli("simulate", "t.jsonl", "--memory", memory)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "must be bytes, such as 4G, 512Mi or 4G,8G,16G" in ran.err


def test_a_bad_line_is_told_with_file_and_number(cli: Cli, trace: Path) -> None:
    trace.write_text(trace.read_text() + '{"time": 1e6}\n')
    count = len(trace.read_text().splitlines())
    ran = cli("simulate", "t.jsonl")
    assert (ran.code, ran.err) == (2, f"modelmora: t.jsonl: line {count}: lacks `model`\n")
    nowhere = cli("simulate", "nowhere.jsonl")
    told = "modelmora: nowhere.jsonl cannot be read: No such file or directory\n"
    assert (nowhere.code, nowhere.err) == (2, told)


@pytest.mark.parametrize("option", ["--rate=nan", "--rate=inf", "--burst=nan", "--zipf=nan"])
def test_what_has_no_end_is_not_made_up(cli: Cli, option: str) -> None:
    ran = cli("traffic", "invent", "t.jsonl", option)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert not Path("t.jsonl").exists()
