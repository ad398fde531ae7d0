"""Four nodes restarted one after the other under load: nothing is lost, nothing refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from tests.faults.callers import Callers
from tests.faults.joining import FIXED, MODEL, Load, Step
from tests.faults.recording import Figures
from tests.nodes import GatewayProcess, NodeProcess, Observer

NODES, RATE, QUIET_S, CALLS = 4, 20.0, 20.0, 8
CAP_S = 300.0
SETTINGS = {
    "MODELS": json.dumps(
        [
            {
                "name": MODEL,
                "task": "sleep",
                "source": "builtin:sleep",
                "engine": FIXED,
                "options": {"load_s": 1.0, "ms": 5.0},
            }
        ]
    ),
    "TOPICS__PARTITIONS": 8,
}


@pytest.fixture
def nodes(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Iterator[list[NodeProcess]]:
    made = [
        NodeProcess(broker.bootstrap_servers, namespace, tmp_path, f"n{number}", SETTINGS)
        for number in range(1, NODES + 1)
    ]
    with ExitStack() as stack:
        for node in made:
            stack.push(node.__exit__)
            node.start()
        for node in made:
            node.wait_ready(CAP_S)
        yield made


def restart(nodes: list[NodeProcess], callers: Callers) -> None:
    """Each is stopped as a cluster does it, and the next one once it is back."""
    for node in nodes:
        for number in range(CALLS):
            callers.ask(MODEL, {"inputs": [f"{number}"]})
        assert node.stop() == 0, node.tail()
        node.start().wait_ready(CAP_S)


def late(step: Step) -> float:
    """The 99th percentile (s) of its waits."""
    return sorted(step.waits)[int(len(step.waits) * 0.99)]


@pytest.mark.row("F9")
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_rolling_restart_loses_and_refuses_nothing(
    broker: EmbeddedBroker,
    namespace: str,
    nodes: list[NodeProcess],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    figures: Figures,
) -> None:
    servers, steps = broker.bootstrap_servers, list[Step]()
    with (
        GatewayProcess(servers, namespace, tmp_path) as gateway,
        Callers(gateway.http) as callers,
        Load(servers, tmp_path, RATE, namespace) as load,
    ):
        with load.during("first", nodes, []):
            pass  # each node's first request waits for the model
        with load.during("quiet", nodes, steps):
            time.sleep(QUIET_S)
        with load.during("restarts", nodes, steps):
            restart(nodes, callers)
        told = callers.told()
        asked = {each.decode() for each in load.sent} | {each.request_id for each in told}
    assert [each.what for each in told if each.code != ""] == []
    with closing(Observer(servers, namespace)) as seen:
        seen.ended_once(asked)
        seen.catch_up()
        outcomes = [each for one in asked for each in seen.results[one]]
        left = [each.facts for each in seen.events if each.kind.value == "node_left"]
    assert {each.status for each in outcomes} == {Status.COMPLETED}
    assert len(left) == NODES
    assert {each["reason"] for each in left} == {"it was asked to stop"}
    repeated = len(outcomes) - len(asked)
    figures.add(requests=len(asked), faults=NODES, lost=0, contradicting=0, repeated=repeated)
    with capsys.disabled():
        ratio = late(steps[1]) / late(steps[0])
        print(*steps, *left, f"p99 of restarts to quiet: {ratio:.1f}", sep="\n")
