"""Kill -9 and SIGSTOP anywhere: nothing is lost, nothing has two outcomes, no commit runs ahead."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.checker import Delivery
from tests.faults.joining import run as join_and_leave
from tests.faults.plan import Part, Plan
from tests.faults.programme import run
from tests.faults.recording import Figures
from tests.foreign import LANES

SEEDS = 5
DELIVERIES = tuple(Delivery)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The seeds of `--seeds 7,21`, or random ones; they are part of the test's name."""
    if "seed" in metafunc.fixturenames:
        given = metafunc.config.getoption("--seeds")
        random = [secrets.randbelow(1 << 32) for _ in range(SEEDS)]
        metafunc.parametrize("seed", [int(seed) for seed in given.split(",")] if given else random)


@pytest.mark.row("F1", "F6", "F7", "F27")
@pytest.mark.timeout(600)
def test_a_short_programme(tmp_path: Path, figures: Figures) -> None:
    kills = {Part.CHILD: 2, Part.ZYGOTE: 1, Part.NODE: 1, Part.BROKER: 1}
    report = run(
        Plan(300, kills, {Part.CHILD: 1, Part.NODE: 1}, secrets.randbelow(1 << 32)), tmp_path
    )
    assert report.verdict.violations == ()
    assert report.verdict.counts["requests"] >= 300
    assert all(report.struck[f"{part} killed"] == count for part, count in kills.items())
    figures.judged(report.verdict, sum(report.struck.values()))


@pytest.mark.row("F1", "F6", "F7", "F8", "F27", "F28")
@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("nodes", [1, 2, 4], ids="{}-nodes".format)
def test_the_whole_programme(
    seed: int,
    nodes: int,
    delivery: Delivery,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    figures: Figures,
) -> None:
    # Its seed and its summary are for whoever asked for it, also when all is well.
    with capsys.disabled():
        report = run(Plan(seed=seed, nodes=nodes, delivery=delivery), tmp_path)
    assert report.verdict.violations == ()
    figures.judged(report.verdict, sum(report.struck.values()))


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_every_node_that_joins_owns_partitions_or_stands_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = join_and_leave(12, 8, 50.0, tmp_path)  # which waits for every answer
    with capsys.disabled():
        print(*steps, sep="\n")
    for step in steps:
        each = 8 * len(LANES)
        assert sum(step.owned) == each
        assert all(step.owned) or len(step.owned) > 8
