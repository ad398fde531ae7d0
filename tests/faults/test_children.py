"""Children killed, frozen and poisoned, many times, under real requests."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import EventKind, Status
from tests.checker import Sampler
from tests.faults.recording import Figures
from tests.foreign import draft
from tests.integration.test_nodes import CAP_S, Yard
from tests.nodes import NodeProcess, Observer, frozen
from tests.programs import eventually

GROUP = 32
MOST_CRASHES = 8
"""Of one poison among 32: log2 32, and three times alone."""


@pytest.fixture
def yard(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Yard:
    return Yard(broker, namespace, tmp_path)


def child_of(node: NodeProcess, model: str, *, at_work: bool = True) -> int:
    """The process of a model, once it has something to do."""

    def look() -> int:
        row = node.models().get(model, {})
        return int(row.get("pid") or 0) if row.get("running") or not at_work else 0

    return eventually(look, f"a child of {model} at work", CAP_S)


def killed_at_work(node: NodeProcess, chance: random.Random) -> bool:
    """False where the node has not heard yet that its child is gone."""
    pid = child_of(node, "sleep")
    time.sleep(chance.random() * 0.3)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.row("F1")
@pytest.mark.faults
@pytest.mark.parametrize("kills", [3, 50])
@pytest.mark.timeout(1200)
def test_children_killed_at_random_points(kills: int, yard: Yard, figures: Figures) -> None:
    chance = random.Random()
    with yard.node(LIMITS__GROUP_REQUESTS=8) as node:
        sampler = Sampler(yard.servers, yard.group, yard.namespace)
        with sampler:
            for _ in range(kills):
                yard.send(draft("sleep", [f"{n}"], {"ms": 20.0}) for n in range(20))
                eventually(lambda: killed_at_work(node, chance), "a child to kill", CAP_S)
            yard.answered()
        assert node.stop() == 0
    verdict = yard.verdict(sampler)
    assert verdict.violations == ()
    figures.judged(verdict, kills)


@pytest.mark.row("F2")
@pytest.mark.faults
@pytest.mark.parametrize("times", [1, 10])
@pytest.mark.timeout(1200)
def test_children_frozen_at_work(times: int, yard: Yard, figures: Figures) -> None:
    """Nothing of the process runs, as where native code holds the interpreter for ever."""
    with (
        yard.node(TIMING__START_TO_CLOSE_S=2) as node,
        closing(Observer(yard.servers, yard.namespace)) as seen,
    ):
        for _ in range(times):
            sent = yard.send(draft("sleep", [f"{n}"], {"ms": 50.0}) for n in range(12))
            with frozen(child_of(node, "sleep")):
                answers = seen.answers(each.request_id for each in sent)
            assert {each.status for each in answers} == {Status.COMPLETED}
        seen.until(lambda: len(crashes(seen, "sleep")) >= times, "an event of each")
        assert set(crashes(seen, "sleep")) == {"run_timeout"}
        yard.answered()
        assert node.stop() == 0
    verdict = yard.verdict()
    assert verdict.violations == ()
    figures.judged(verdict, times)


def crashes(seen: Observer, model: str) -> list[object]:
    """Why its children ended, but for those that were told to."""
    kinds = (EventKind.CRASHED, EventKind.UNLOADED)
    ended = (each for each in seen.events if each.kind in kinds and each.model == model)
    return [each.facts["reason"] for each in ended]


@pytest.mark.row("F4")
@pytest.mark.parametrize(
    "positions", [(9,), pytest.param(tuple(range(GROUP)), marks=pytest.mark.faults)], ids=len
)
@pytest.mark.timeout(2400)
def test_a_poison_at_each_position(
    positions: tuple[int, ...], yard: Yard, figures: Figures
) -> None:
    marker = {"marker": "poison"}
    with (
        yard.node(LIMITS__GROUP_REQUESTS=GROUP, LIMITS__GROUP_WAIT_MS=2000) as node,
        closing(Observer(yard.servers, yard.namespace)) as seen,
    ):
        for position in positions:
            before = len(crashes(seen, "crash"))
            texts = ["poison" if n == position else f"fine {n}" for n in range(GROUP)]
            sent = yard.send_to("normal", [draft("crash", [text], marker) for text in texts])
            answers = seen.answers(each.request_id for each in sent)
            codes = [each.error.code.value if each.error else "" for each in answers]
            assert codes == ["worker_crash" if n == position else "" for n in range(GROUP)]
            assert len(crashes(seen, "crash")) - before <= MOST_CRASHES
            figures.add(faults=1)
        yard.answered()
        assert node.stop() == 0
    verdict = yard.verdict()
    assert verdict.violations == ()
    figures.judged(verdict, 0)
