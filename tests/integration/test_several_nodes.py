"""Several nodes share one model that is spread, come and go, and answer each request once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.client.kafka import KafkaClient
from modelmora.kafka.admin import Admin
from modelmora.settings import Settings
from tests.nodes import PARTITIONS, NodeProcess, Observer
from tests.programs import eventually

CAP_S = 300.0
MODELS = json.dumps(
    [
        {"name": "hot", "task": "sleep", "source": "builtin:sleep", "spread": PARTITIONS},
        {"name": "cold", "task": "echo", "source": "builtin:echo"},
        {
            "name": "slow",
            "task": "sleep",
            "source": "builtin:sleep",
            "engine": "modelmora.testing.engines:Fixed",
            "options": {"load_s": 2.0},
        },
    ]
)


class Cluster:
    """Nodes on one namespace, and a client that writes to it."""

    def __init__(self, servers: str, namespace: str, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._node = partial(NodeProcess, servers, namespace, folder)
        self._settings = Settings(
            namespace=namespace, bootstrap_servers=servers, topics={"partitions": PARTITIONS}
        )
        Admin(self._settings).create()
        self.nodes: list[NodeProcess] = []
        self.seen = stack.enter_context(closing(Observer(servers, namespace)))

    def grow(self, count: int) -> None:
        """Start nodes until there are so many, and wait until partitions are shared."""
        new = [self._start(number) for number in range(len(self.nodes), count)]
        for node in new:
            node.wait_ready(CAP_S)
        self.nodes += new
        self.settled()

    def settled(self) -> None:
        """Wait until the nodes that run have all partitions, as many each as can be."""
        least = PARTITIONS // len(self.nodes)

        def shared() -> bool:
            facts = [node.get("/health/ready") or {"partitions": -1} for node in self.nodes]
            found: list[int] = sorted(fact["partitions"] // 4 for fact in facts)
            return sum(found) == PARTITIONS and least <= found[0] and found[-1] <= least + 1

        eventually(shared, "all partitions, shared", CAP_S)

    def ask(self, count: int, ms: float = 5.0) -> list[str]:
        """Requests for the hot model, and for one that lies on one partition."""
        return self.ask_one("hot", count, ms=ms) + self.ask_one("cold", count // 4)

    def ask_one(self, model: str, count: int, **parameters: float) -> list[str]:
        """Requests for one model; their ids."""
        servers = self._settings.bootstrap_servers or ""
        with KafkaClient(servers, self._settings.namespace) as client:
            return [client.submit(model, ["x"], parameters=parameters) for _ in range(count)]

    def who_ran(self, ids: list[str]) -> set[int]:
        """The partitions on which these requests lay; each has one outcome."""
        return {answer.source.partition for answer in self.seen.answers(ids)}

    def _start(self, number: int) -> NodeProcess:
        settings = {"MODELS": MODELS, "TIMING__DRAIN_S": 30}
        node = self._node(f"n{number}", settings)
        self._stack.callback(node.__exit__)
        return node.start()


@pytest.fixture
def cluster(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(broker.bootstrap_servers, namespace, tmp_path, stack)


def test_two_nodes_share_a_model_and_one_takes_over(cluster: Cluster) -> None:
    cluster.grow(1)
    first = cluster.ask(40)
    cluster.seen.answers(first)
    second = cluster.ask(200, ms=20.0)
    cluster.grow(2)
    assert "models are loaded before their requests come" in cluster.nodes[1].log_since_start()
    second += cluster.ask(80)
    assert cluster.who_ran(first + second) == set(range(PARTITIONS))
    loaded = {event.node for event in cluster.seen.events if event.model == "hot"}
    assert loaded == {"n0", "n1"}
    last = cluster.ask(80)
    assert cluster.nodes.pop(0).stop() == 0
    cluster.settled()
    cluster.seen.answers(last)


@pytest.mark.faults
def test_who_leaves_serves_until_the_other_has_loaded(cluster: Cluster) -> None:
    cluster.grow(2)
    asked = cluster.ask_one("slow", 1)
    cluster.seen.answers(asked)
    (owner,) = [node for node in cluster.nodes if node.models()["slow"]["state"] == "ready"]
    asked += cluster.ask_one("slow", 50)
    cluster.seen.answers(asked)
    assert owner.stop() == 0, owner.tail()
    cluster.nodes.remove(owner)
    cluster.settled()
    asked = cluster.ask_one("slow", 20)
    cluster.seen.answers(asked)
    events = cluster.seen.events
    cluster.seen.until(lambda: any(each.kind.value == "node_left" for each in events), "its end")
    left = next(each.time for each in events if each.kind.value == "node_left")
    loads = [e.time for e in events if (e.kind.value, e.model) == ("loaded", "slow")]
    assert len(loads) == 2
    assert max(loads) < left


@pytest.mark.faults
def test_one_to_six_nodes_and_back(cluster: Cluster) -> None:
    """Six nodes on four partitions: two are on standby, and take over when others leave."""
    asked: list[str] = []
    for count in (1, 2, 4, 6):
        cluster.grow(count)
        asked += cluster.ask(100)
    assert sum(node.get("/health/ready")["partitions"] == 0 for node in cluster.nodes) == 2
    while len(cluster.nodes) > 1:
        asked += cluster.ask(50)
        node = cluster.nodes.pop(0)
        if len(cluster.nodes) % 2:
            assert node.stop() == 0, node.tail()
        else:
            node.kill()
        cluster.settled()
    asked += cluster.ask(50)
    cluster.seen.ended_once(asked)
