"""A node whose loop stands still keeps nothing from the others."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from tests.foreign import draft
from tests.integration.test_nodes import CAP_S, Yard
from tests.nodes import NodeProcess, Observer
from tests.programs import eventually

OWN = 16  # partitions of all lanes
WATCHDOG_S = 4


class StandingNode(NodeProcess):
    """Its loop stands after SIGUSR1, all of its own threads do for some time after SIGUSR2."""

    module = "tests.standing"


@pytest.fixture
def yard(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Yard:
    return Yard(broker, namespace, tmp_path)


def standing(yard: Yard) -> StandingNode:
    folder = yard.folder / "n1"
    folder.mkdir()
    return StandingNode(
        yard.servers, yard.namespace, folder, "n1", {"TIMING__WATCHDOG_S": WATCHDOG_S}
    )


def owned(yard: Yard, name: str) -> int:
    return len(yard.members().get(name, ()))


def answered(yard: Yard, count: int) -> None:
    """Requests on all partitions are answered, by whoever has them."""
    with closing(Observer(yard.servers, yard.namespace)) as seen:
        sent = yard.send(replace(draft("echo", [f"{n}"]), key=b"%d" % n) for n in range(count))
        answers = seen.answers(each.request_id for each in sent)
    assert {each.status for each in answers} == {Status.COMPLETED}


@pytest.mark.faults
def test_the_process_ends_and_says_where_it_stood(yard: Yard) -> None:
    with standing(yard) as node, yard.node("n2") as other:
        eventually(lambda: owned(yard, "n1") and owned(yard, "n2"), "both own some", CAP_S)
        assert "modelmora_loop_stall_seconds" in node.text("/metrics")
        node.process.send_signal(signal.SIGUSR1)
        answered(yard, 40)
        assert node.wait(CAP_S) == 70
        log = node.log_since_start()
        assert f"its loop stands still for {WATCHDOG_S} s" in log
        assert "standing.py" in log
        assert other.stop() == 0
    assert yard.verdict().violations == ()


@pytest.mark.faults
def test_a_node_all_of_whose_threads_stand_gives_its_partitions_away(yard: Yard) -> None:
    """None of ours can say so, so librdkafka's own must; afterwards the node is one of them."""
    with standing(yard) as node, yard.node("n2") as other:
        eventually(lambda: owned(yard, "n1") and owned(yard, "n2"), "both own some", CAP_S)
        node.process.send_signal(signal.SIGUSR2)
        eventually(lambda: owned(yard, "n2") == OWN, "all partitions the other's", CAP_S)
        answered(yard, 40)
        eventually(lambda: owned(yard, "n1") > 0, "the node a member again", CAP_S)
        answered(yard, 40)
        assert (node.stop(), other.stop()) == (0, 0)
    assert yard.verdict().violations == ()
