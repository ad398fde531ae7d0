"""No node while nothing waits: a gateway takes requests all the same, and the next node answers."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.topics import read_topics
from modelmora.settings import Settings
from tests.nodes import PARTITIONS, GatewayProcess, NodeProcess, Observer
from tests.programs import eventually

CAP_S = 120.0
SESSION_S = 2


def ask(gateway: GatewayProcess, text: str, model: str = "echo") -> Any:
    body = json.dumps({"inputs": text}).encode()
    request = urllib.request.Request(
        f"{gateway.http}/infer/{model}", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=CAP_S) as answer:
        return json.load(answer)


def absent_s(gateway: GatewayProcess) -> float:
    """For how long no node has run, as one is told who asks for what nobody knows."""
    try:
        ask(gateway, "x", "nobody")
    except urllib.error.HTTPError as error:
        told = json.load(error)
        assert told["code"] in ("no_node", "unknown_model")
        found = re.search(r"runs \((\d+) s\)", told["detail"])
        return float(found[1]) if found else 0.0
    raise AssertionError


def lag(settings: Settings) -> int:
    """How many records wait on what nodes read, as who scales them counts."""
    with closing(Standing(settings)) as standing:
        there = {each for topic in read_topics(settings) for each in standing.partitions(topic)}
        committed = standing.committed(there, hasty=True)
        bounds = standing.bounds(there)
    return sum(end - committed.get(each, (first, ""))[0] for each, (first, end) in bounds.items())


def test_to_no_node_and_back(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> None:
    servers = broker.bootstrap_servers
    told = {"NODES_ON_DEMAND": "true", "TIMING__SESSION_TIMEOUT_S": SESSION_S}
    gateway = GatewayProcess(servers, namespace, tmp_path, told)
    settings = Settings(
        namespace=namespace, bootstrap_servers=servers, topics={"partitions": PARTITIONS}
    )
    node = NodeProcess(servers, namespace, tmp_path)
    with node, gateway, ThreadPoolExecutor(1) as waiting:
        assert ask(gateway, "first")["outputs"]
        assert node.stop() == 0, node.tail()
        assert lag(settings) == 0
        eventually(lambda: absent_s(gateway) > 2 * SESSION_S, "a gateway that misses it", CAP_S)
        asked = waiting.submit(ask, gateway, "second")
        eventually(lambda: lag(settings) == 1, "a request that brings a node", CAP_S)
        with urllib.request.urlopen(f"{gateway.http}/health/ready", timeout=CAP_S) as ready:
            assert ready.status == 200
        with closing(Observer(servers, namespace)) as seen:
            seen.catch_up()
            (left,) = [each for each in seen.events if each.kind.value == "node_left"]
        assert left.facts["reason"] == "it was asked to stop"
        assert (left.facts["answered"], left.facts["unanswered"]) == (0, 0)
        node.start().wait_ready()
        assert asked.result(CAP_S)["outputs"]
        assert node.stop() == 0
        eventually(lambda: lag(settings) == 0, "nothing that would keep a node", CAP_S)
