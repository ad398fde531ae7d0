"""Kill -9 anywhere: nothing is lost, nothing has two outcomes, no commit runs ahead."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.programme import Plan, run


def seed() -> int:
    return secrets.randbelow(1 << 32)


@pytest.mark.timeout(600)
def test_a_short_programme(tmp_path: Path) -> None:
    plan = Plan(300, child=3, zygote=1, node=2, broker=1, seed=seed())
    report = run(plan, tmp_path)
    assert report.verdict.violations == ()
    assert report.verdict.counts["expected"] >= 300
    assert report.killed.items() >= {"child": 3, "zygote": 1, "node": 2, "broker": 1}.items()


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(), id="one node"),
        pytest.param(Plan(2000, child=15, zygote=1, node=10, broker=2, nodes=2), id="two nodes"),
    ],
)
def test_the_whole_programme(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its seed and its summary are for whoever asked for it, also when all is well.
    with capsys.disabled():
        report = run(replace(plan, seed=seed()), tmp_path)
    assert report.verdict.violations == ()
