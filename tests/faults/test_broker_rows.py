"""A broker that is killed, unreachable, frozen, or gives no records: node and gateway live on."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.node.lookout import EXIT_CODE
from tests.faults.callers import Callers
from tests.faults.joining import Load
from tests.faults.proxy import FETCH, Proxied, Proxy
from tests.faults.recording import Figures
from tests.faults.stage import Stage, pile
from tests.nodes import GatewayProcess, NodeProcess, frozen
from tests.programs import eventually

pytestmark = pytest.mark.faults
CAP_S = 120.0
OUTAGE_S = 30.0
WATCHDOG_S = 4
MOVES, STEP_S, MEMBERS, RATE = 30, 2.0, 6, 20.0


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """Before `remote`."""
    with Proxy() as made:
        yield made


@pytest.fixture(scope="module")
def behind(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """The broker behind it, for all tests here."""
    with Proxied(tmp_path_factory.mktemp("behind"), proxy) as made:
        yield made


@pytest.fixture
def remote(behind: Proxied, proxy: Proxy) -> Iterator[Proxied]:
    """It, reached at the beginning and at the end."""
    yield behind
    proxy.heal()


@pytest.mark.row("F7")
@pytest.mark.timeout(1200)
def test_a_broker_that_is_killed_five_times(
    mortal: EmbeddedBroker, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    stage = Stage(mortal, namespace, tmp_path)
    with ExitStack() as stack:
        node = stack.enter_context(stage.node())
        gateway = stack.enter_context(GatewayProcess(stage.servers, namespace, tmp_path))
        callers = stack.enter_context(Callers(gateway.http))
        sampler = stack.enter_context(stage.sampler())
        for _ in range(5):
            stage.send(pile(200))
            for number in range(8):
                callers.ask("echo", {"inputs": [f"{number}"]})
            stage.struck("broker killed")
            mortal.kill()
            mortal.start()
            stage.healed()
            stage.send(pile(40))
            stage.answered()  # else the next one strikes before it has recovered
        told = callers.told()
        stage.answered()
        assert node.running
        assert gateway.running
        assert node.stop() == 0
    stage.conclude(figures, sampler, told)


@pytest.mark.row("F8")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", ["swallowed", "frozen"])
def test_a_broker_out_of_reach_is_told_at_once_and_met_again(
    how: str, remote: Proxied, proxy: Proxy, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    stage = Stage(remote, namespace, tmp_path)
    with ExitStack() as stack:
        node = stack.enter_context(stage.node())
        gateway = stack.enter_context(GatewayProcess(stage.servers, namespace, tmp_path))
        rest = stack.enter_context(httpx.Client(base_url=gateway.http, timeout=CAP_S))
        answer = rest.post("/infer/echo", json={"inputs": "x"})
        assert answer.status_code == 200, answer.text
        stage.send(pile(200))
        stage.struck(f"broker {how}")
        if how == "swallowed":
            proxy.black_hole()
            refused(node, rest)
            proxy.cut()
            proxy.heal()
        else:
            assert remote.pid
            with frozen(remote.pid):
                refused(node, rest)
        stage.healed()
        stage.send(pile(40))
        stage.answered()
        eventually(lambda: rest.get("/health/ready").is_success, "ready again", CAP_S)
        eventually(lambda: node.get("/health/ready"), "the node ready again", CAP_S)
        assert node.stop() == 0
    stage.conclude(figures)


def refused(node: NodeProcess, rest: httpx.Client) -> None:
    """For as long as the outage lasts: not served, said so, alive."""
    until = time.monotonic() + OUTAGE_S
    while time.monotonic() < until:
        answer = rest.post("/infer/echo", json={"inputs": "x"})
        assert (answer.status_code, answer.json()["code"]) == (503, "broker_unreachable")
        assert int(answer.headers["retry-after"]) > 0
        assert rest.get("/health/live").is_success
        assert node.text("/health/live")
    assert rest.get("/health/ready").status_code == 503
    assert not node.get("/health/ready")


@pytest.mark.row("F9")
@pytest.mark.timeout(1800)
def test_a_storm_of_members(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    stage = Stage(broker, namespace, tmp_path)
    chance = random.Random(9)
    with ExitStack() as stack:
        nodes = [stage.node(f"n{number}") for number in range(1, MEMBERS + 1)]
        for node in nodes:
            stack.push(node.__exit__)
        nodes[0].start().wait_ready()
        stage.send(pile(10))
        stage.answered()
        with Load(stage.servers, tmp_path, RATE, namespace):
            began, leaving, moves = time.time(), set[NodeProcess](), 0
            while moves < MOVES:
                chance.shuffle(nodes)
                if changed := next(filter(None, (change(e, nodes, leaving) for e in nodes)), ""):
                    moves += 1
                    stage.struck(changed, 2 * MEMBERS)
                time.sleep(STEP_S)
            ended = time.time()
        stage.healed()
        for node in nodes:
            if node.running and node not in leaving:
                node.wait_ready(CAP_S)
        stage.answered()
        for node in nodes:
            if node.running:
                assert node.stop() == 0, node.tail()
    stage.conclude(figures)
    silence_s, around = stage.silence(began, ended)
    figures.recovered(silence_s)
    assert silence_s < 10, around


def change(node: NodeProcess, nodes: list[NodeProcess], leaving: set[NodeProcess]) -> str:
    """Let it leave or join, where it has done with what it did last, and say so; one stays."""
    serving = [each for each in nodes if each.running and each.ready(0) and each not in leaving]
    if node in serving and len(serving) > 1:
        node.process.send_signal(signal.SIGTERM)
        leaving.add(node)
        return f"{node.log.stem} leaves"
    if node.running:
        return ""
    if node in leaving:
        assert node.wait() == 0, node.tail()
        leaving.remove(node)
    node.start()
    return f"{node.log.stem} joins"


@pytest.mark.row("F10")
@pytest.mark.timeout(900)
def test_a_node_that_reads_nothing_ends(
    remote: Proxied, proxy: Proxy, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    """Heartbeats, commits and produced records pass, so that the group sees nothing amiss."""
    stage = Stage(remote, namespace, tmp_path)
    with stage.node(TIMING__WATCHDOG_S=WATCHDOG_S) as node:
        stage.send(pile(40))
        stage.answered()
        proxy.drop([FETCH])
        stage.struck("nothing fetched")
        stage.send(pile(40))
        assert node.wait(CAP_S) == EXIT_CODE
        assert "nothing is read from" in node.log_since_start()
        assert proxy.dropped
        proxy.heal()
        node.start().wait_ready()
        stage.healed()
        stage.answered()
        assert node.stop() == 0
    stage.conclude(figures)
