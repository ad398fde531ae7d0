"""Nodes killed under load, flooded, and two of them on one data folder."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from tests.faults.recording import Figures
from tests.faults.stage import Stage, pile
from tests.foreign import Draft, draft
from tests.nodes import NodeProcess, Observer
from tests.programs import ROOT, alive, eventually
from tests.tiny_models import make_tiny

pytestmark = pytest.mark.faults
CAP_S = 180.0
KILLS = 20
SIZE = 100_000
ROOM = 8 << 20
FLOOD = 60 * ROOM // SIZE
MOST_MORE = 1.2


@pytest.fixture
def stage(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Stage:
    return Stage(broker, namespace, tmp_path)


def both_own(stage: Stage) -> bool:
    """Whether each of two members has partitions."""
    owned = stage.members()
    return len(owned) == 2 and all(owned.values())


def at_work(node: NodeProcess) -> bool:
    """Whether its child runs something."""
    return bool(node.models().get("sleep", {}).get("running"))


@pytest.mark.row("F6")
@pytest.mark.timeout(2400)
def test_nodes_killed_twenty_times_under_load(stage: Stage, figures: Figures) -> None:
    """Its processes end with it; the other node ends what it had, before it is back.

    The time is that from the kill until the last of all that was sent has ended.
    """
    chance = random.Random()
    with (
        stage.node("n1") as one,
        stage.node("n2") as two,
        stage.sampler() as sampler,
        closing(Observer(stage.servers, stage.namespace)) as seen,
    ):
        for number in range(KILLS):
            victim = (one, two)[number % 2]
            eventually(lambda: both_own(stage), "two nodes that own some", CAP_S)
            sent = stage.send(pile(200, ms=50.0))
            eventually(lambda: at_work(victim), "work under way", CAP_S)  # noqa: B023
            time.sleep(chance.random() * 0.5)
            pids = [row["pid"] for row in victim.models().values() if row["pid"]]
            family = [*pids, victim.zygote or 0]
            stage.struck("node killed")
            killed = time.monotonic()
            victim.kill()
            eventually(lambda: not any(map(alive, family)), "the end of its children", CAP_S)  # noqa: B023
            sent += stage.send(pile(60))
            seen.ended_once(each.request_id for each in sent)
            figures.recovered(time.monotonic() - killed)
            victim.start().wait_ready()
        stage.answered()
        assert (one.stop(), two.stop()) == (0, 0)
    stage.conclude(figures, sampler)


def memory(node: NodeProcess, what: str) -> int:
    """Bytes of the node itself."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(what))


def large(count: int) -> list[Draft]:
    """Requests of some size over all partitions, for a model that takes its time."""
    made = (draft("sleep", ["x" * SIZE], {"ms": 1.0}) for _ in range(count))
    return [replace(each, key=b"%d" % number) for number, each in enumerate(made)]


def most_held(stage: Stage, node: NodeProcess) -> int:
    """The most memory (bytes) since it was forgotten, once all is answered."""
    eventually(stage.all_committed, "every request committed", CAP_S)
    return memory(node, "VmHWM")


@pytest.mark.row("F14")
@pytest.mark.timeout(900)
def test_a_flood_beyond_all_that_is_held(stage: Stage, figures: Figures) -> None:
    """Memory stays what it was when all was full once, and who is critical waits for no flood."""
    with (
        stage.node(LIMITS__NODE_BYTES=str(ROOM), LIMITS__GROUP_REQUESTS="4") as node,
        closing(Observer(stage.servers, stage.namespace)) as seen,
    ):
        idle = memory(node, "VmHWM")
        stage.send_to("normal", large(FLOOD))
        before = most_held(stage, node)
        assert before - idle < FLOOD * SIZE / 2, "it held more than half of all at once"
        Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")  # VmHWM begins anew
        flood = stage.send_to("normal", large(FLOOD))
        critical = stage.send_to("critical", [draft("echo", ["now"]) for _ in range(20)])
        answers = seen.answers(each.request_id for each in critical)
        assert {each.status for each in answers} == {Status.COMPLETED}
        assert not seen.results.keys() >= {each.request_id for each in flood}, "all are through"
        most = most_held(stage, node)
        assert most <= MOST_MORE * before, f"{most / before:.2f} times as much"
        assert node.stop() == 0
    stage.conclude(figures)
    figures.add(faults=1)


INSTALL = """
import sys
from pathlib import Path
from modelmora.registry import install
from modelmora.settings import Settings
install(Settings(data_dir=Path(sys.argv[1])), sys.argv[2], name=sys.argv[3])
"""


@pytest.mark.row("F17")
def test_two_nodes_on_one_data_folder(stage: Stage, figures: Figures) -> None:
    """What is installed there is served by both; one is killed, and what it held stops nobody."""
    shared, model = stage.folder / "shared", make_tiny(stage.folder / "tiny")
    with ExitStack() as stack:
        shared.mkdir()
        nodes = [stage.node(each, DATA_DIR=shared) for each in ("one", "two")]
        for node in nodes:
            stack.enter_context(node)
        seen = stack.enter_context(closing(Observer(stage.servers, stage.namespace)))
        words = [sys.executable, "-c", INSTALL, str(shared), str(model)]
        both = [subprocess.Popen([*words, name], cwd=ROOT) for name in ("first", "second")]
        assert [each.wait(CAP_S) for each in both] == [0, 0]
        for node in nodes:
            eventually(lambda: {"first", "second"} <= node.models().keys(), "both there", CAP_S)  # noqa: B023
        sent = stage.send(
            replace(draft(name, [f"{n}"]), key=b"%d" % n)
            for n in range(40)
            for name in ("first", "second")
        )
        eventually(lambda: nodes[0].models()["first"]["pid"], "a child of the one", CAP_S)
        stage.struck("node killed")
        nodes[0].kill()
        killed = time.monotonic()
        sent += stage.send(replace(draft("first", [f"{n}"]), key=b"%d" % n) for n in range(40))
        seen.ended_once(each.request_id for each in sent)
        figures.recovered(time.monotonic() - killed)
        assert {each[-1].status for each in seen.results.values()} == {Status.COMPLETED}
        third = subprocess.run([*words, "third"], cwd=ROOT, timeout=CAP_S, check=False)
        assert third.returncode == 0
        nodes[0].start().wait_ready()
        for node in nodes:
            eventually(lambda: "third" in node.models(), "the third there", CAP_S)  # noqa: B023
        stage.answered()
        assert [node.stop() for node in nodes] == [0, 0]
    stage.conclude(figures)
