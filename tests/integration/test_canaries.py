"""Versions that take over a name in steps, on real nodes: a good, a slow and a failing one."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from modelmora.bench.stage import fixed
from modelmora.broker import EmbeddedBroker
from modelmora.client.kafka import KafkaClient
from modelmora.messages import EventKind, InferenceRequest
from modelmora.messages.headers import COMPARISON, LIVE, SHADOW_OF
from modelmora.routing.choosing import shared, step_at
from modelmora.settings.routes import Route
from modelmora.wire import encode_request, time_of
from modelmora.wire.ids import shadow_id
from tests.integration.test_nodes import Yard
from tests.nodes import GatewayProcess, NodeProcess, Observer
from tests.programs import eventually

CAP_S = 240.0
EACH_S = 0.07
PLAN: dict[str, Any] = {
    "candidate": "2",
    "hold_s": 2,
    "samples": 30,
    "slower": 2.0,
    "more_errors": 0.2,
}
CANDIDATES = {
    "good": {"ms": 2.0},
    "slow": {"ms": 150.0},
    "failing": {"ms": 2.0, "faults": 0.8},
}


def models(**candidates: dict[str, float]) -> str:
    """Each name with a fast version 1 and this version 2."""
    told = [
        fixed(name, options, version=version)
        for name, second in candidates.items()
        for version, options in (("1", {"ms": 2.0}), ("2", second))
    ]
    return json.dumps(told)


class Traffic:
    """Asks each name again and again, until it is told to stop."""

    def __init__(self, client: KafkaClient, names: list[str]) -> None:
        self.ids: dict[str, list[str]] = defaultdict(list)
        self._client = client
        self._names = names
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.wait(EACH_S):
            for name in self._names:
                self.ids[name].append(self._client.submit(name, ["x"]))

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class Mine:
    """Nodes, a gateway, and who looks at what they write."""

    def __init__(self, yard: Yard, stack: ExitStack) -> None:
        self.yard = yard
        self.stack = stack
        self.nodes: list[NodeProcess] = []
        self.seen: Observer
        self.gateway: GatewayProcess

    def open(self, told: str, *nodes: str) -> None:
        """Start so many nodes with these models, and a gateway."""
        yard, stack = self.yard, self.stack
        for name in nodes:
            self.nodes.append(stack.enter_context(yard.node(name, MODELS=told)))
        folder = yard.folder / "gateway"
        folder.mkdir()
        made = GatewayProcess(yard.servers, yard.namespace, folder)
        self.gateway = stack.enter_context(made)
        self.seen = stack.enter_context(closing(Observer(yard.servers, yard.namespace)))

    def traffic(self, *names: str) -> Traffic:
        client = self.stack.enter_context(KafkaClient(self.yard.servers, self.yard.namespace))
        return Traffic(client, [*names])

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """An answer of the gateway."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.gateway.http + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def start(self, name: str, *steps: int) -> None:
        self.call("POST", f"/models/{name}/canary", {**PLAN, "steps": steps})

    def standing(self, name: str) -> str:
        return str(self.call("GET", f"/models/{name}/canary")["standing"])

    def ended(self, *names: str) -> dict[str, str]:
        """How these have ended, waited for."""
        found: dict[str, str] = {}

        def over() -> bool:
            found.update({each: self.standing(each) for each in names})
            return "running" not in found.values()

        eventually(over, "the end of each canary", CAP_S)
        return found

    def weights(self, name: str) -> dict[str, int]:
        told = self.call("GET", f"/models/{name}/route")
        return {version: weight for version, weight in told["weights"].items() if weight}

    def decided(self, name: str) -> list[tuple[Any, Any]]:
        """What events say of a canary, in order."""
        told = (e for e in self.seen.events if e.kind is EventKind.CANARY_DECIDED)
        return [(e.facts["state"], e.facts["step_share"]) for e in told if e.model == name]

    def check_ids(self, name: str, ids: list[str]) -> set[str]:
        """Every id has an outcome of the one version that the route says; which there were."""
        self.seen.until(lambda: self.seen.results.keys() >= {*ids}, "every outcome")
        route = self.call("GET", f"/models/{name}/route")
        steps = tuple(
            (each["since_ms"], Route.model_validate({f: each[f] for f in Route.model_fields}))
            for each in (*route["before"], route)
        )
        versions = set()
        for each in ids:
            (version,) = {result.version for result in self.seen.results[each]}
            made_ms = time_of(each)
            assert made_ms
            assert version == shared(name, step_at(steps, made_ms)[1].weights, f"id {each}")
            versions.add(version)
        return versions


@pytest.fixture
def mine(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Iterator[Mine]:
    with ExitStack() as stack:
        yield Mine(Yard(broker, namespace, tmp_path), stack)


@pytest.mark.faults
def test_a_good_candidate_takes_over_and_a_slow_or_failing_one_is_rolled_back(mine: Mine) -> None:
    mine.open(models(**CANDIDATES), "n1")
    with mine.traffic(*CANDIDATES) as traffic:
        for name in CANDIDATES:
            mine.start(name, 30, 100)
        found = mine.ended(*CANDIDATES)
    assert found == {"good": "done", "slow": "rolled_back", "failing": "rolled_back"}
    told = {name: mine.call("GET", f"/models/{name}/canary") for name in CANDIDATES}
    assert told["slow"]["why"].startswith("it is slower: p50 is")
    assert told["failing"]["why"].startswith("it fails more: ")
    assert told["failing"]["numbers"]["candidate_failed_share"] > 0.4
    weights = {name: {*mine.weights(name)} for name in CANDIDATES}
    assert weights == {"good": {"2"}, "slow": {"1"}, "failing": {"1"}}
    for name, ids in traffic.ids.items():
        assert mine.check_ids(name, ids) == {"1", "2"}
    mine.seen.catch_up()
    assert mine.decided("good") == [("running", 0.3), ("running", 1.0), ("done", 1.0)]
    for name in ("slow", "failing"):
        assert mine.decided(name) == [("running", 0.3), ("rolled_back", 0.3)]


def test_what_an_operator_changes_meanwhile_is_left_so(mine: Mine) -> None:
    mine.open(models(good=CANDIDATES["good"]), "n1")
    mine.start("good", 5, 100)
    eventually(lambda: mine.weights("good") == {"1": 95, "2": 5}, "the first step", CAP_S)
    mine.call("PUT", "/models/good/route", {"weights": {"1": 3, "2": 1}})
    assert mine.ended("good") == {"good": "overtaken"}
    assert mine.weights("good") == {"1": 3, "2": 1}
    mine.call("PUT", "/models/good/route", {"weights": {"1": 1}})
    mine.start("good", 5, 100)
    assert mine.call("DELETE", "/models/good/canary")["standing"] == "aborted"
    assert mine.weights("good") == {"1": 1}


def test_a_candidate_that_answers_otherwise_is_rolled_back(mine: Mine) -> None:
    """By what it answers to copies, which nobody waits for."""
    task = {"name": "echo", "task": "echo", "source": "builtin:echo"}
    other = {**task, "engine": "modelmora.testing.engines:Shout", "version": "2"}
    mine.open(json.dumps([{**task, "version": "1"}, other]), "n1")
    producer = Producer({"bootstrap.servers": mine.yard.servers, "log_level": 0})
    with mine.traffic("echo") as traffic:
        plan = {**PLAN, "steps": [30, 100], "agreement": 0.9, "slower": 100.0}
        mine.call("POST", "/models/echo/canary", plan)
        copied = 0
        while mine.standing("echo") == "running":
            time.sleep(1)
            ids = traffic.ids["echo"][copied:]
            copied += len(ids)
            for original in ids:
                request = InferenceRequest(shadow_id(original, "2"), "echo@2", ("x",))
                headers = {SHADOW_OF: original, COMPARISON: LIVE}
                topic = f"{mine.yard.namespace}.shadow"
                producer.produce(topic, encode_request(request), b"echo", headers=headers)
            assert producer.flush(60) == 0
    found = mine.call("GET", "/models/echo/canary")
    assert found["standing"] == "rolled_back"
    assert found["why"].startswith("it answers otherwise: agreement is 0.000 where 0.9 is asked")
    assert found["numbers"]["pairs"] >= PLAN["samples"]
    assert mine.weights("echo") == {"1": 1}


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_canary_goes_on_while_nodes_and_the_gateway_are_killed(mine: Mine) -> None:
    """Whoever judges dies at each step, and another goes on; no id has two versions."""
    mine.open(models(m=CANDIDATES["good"]), "n1", "n2")
    with mine.traffic("m") as traffic:
        mine.start("m", 30, 60, 100)
        rounds = 0
        while mine.standing("m") == "running":
            victim = mine.nodes[rounds % 2]
            time.sleep(12)  # a change counts after ten
            victim.kill()
            mine.gateway.kill()
            victim.start().wait_ready(CAP_S)
            mine.gateway.start().wait_ready(CAP_S)
            rounds += 1
            assert rounds < 20
    found = mine.call("GET", "/models/m/canary")
    assert found["standing"] == "done", found["why"]
    assert mine.weights("m") == {"2": 1}
    assert mine.check_ids("m", traffic.ids["m"]) == {"1", "2"}
