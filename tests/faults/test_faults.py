"""Kill -9 anywhere: nothing is lost, nothing has two outcomes, no commit runs ahead."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.faults.programme import Plan, run


@pytest.mark.timeout(600)
def test_a_short_programme(tmp_path: Path) -> None:
    plan = Plan(300, child=3, zygote=1, node=2, broker=1, seed=secrets.randbelow(1 << 32))
    report = run(plan, tmp_path)
    assert report.verdict.violations == ()
    assert report.verdict.counts["expected"] >= 300
    assert report.killed.items() >= {"child": 3, "zygote": 1, "node": 2, "broker": 1}.items()


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_the_whole_programme(tmp_path: Path) -> None:
    report = run(Plan(seed=secrets.randbelow(1 << 32)), tmp_path)
    assert report.verdict.violations == ()
