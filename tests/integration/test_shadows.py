"""Copies of requests on a real node: answered on `compare`, and nowhere else."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.client.kafka import KafkaClient
from modelmora.messages import InferenceRequest, Status
from modelmora.messages.headers import COMPARISON, SHADOW_OF
from modelmora.routing import shadows
from modelmora.settings.routes import Route
from modelmora.wire import decode_result, encode_request
from modelmora.wire.ids import shadow_id
from tests.checker.reading import Record, read_records
from tests.foreign import draft
from tests.integration.test_nodes import Yard
from tests.nodes import GatewayProcess, NodeProcess, Observer
from tests.programs import eventually
from tests.unit.routing.test_choosing import Request as Asked

MODELS = json.dumps(
    [
        {"name": "echo", "version": each, "task": "echo", "source": "builtin:echo"}
        for each in ("1", "2")
    ]
)
CAP_S = 120.0
ALL = ("results", "progress", "jobs", "dead-letters", "results.json")


class Town:
    """A node, and who writes copies and reads what became of them."""

    def __init__(self, yard: Yard, node: NodeProcess) -> None:
        self.yard, self.node = yard, node

    def copy(self, *originals: str, model: str = "echo@2", comparison: str = "c1") -> None:
        producer = Producer({"bootstrap.servers": self.yard.servers, "log_level": 0})
        for original in originals:
            request = InferenceRequest(shadow_id(original, "2"), model, ("a text",), progress=True)
            headers = {SHADOW_OF: original, COMPARISON: comparison, "modelmora-job": "1"}
            topic, value = f"{self.yard.namespace}.shadow", encode_request(request)
            producer.produce(topic, value, b"echo", headers=headers)
        assert producer.flush(60) == 0

    def on(self, *topics: str) -> list[Record]:
        names = [f"{self.yard.namespace}.{topic}" for topic in topics]
        return list(read_records(self.yard.servers, names))


@pytest.fixture
def routed(town: Town, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway, by which half of what `echo` is asked is copied for its second version."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    with GatewayProcess(town.yard.servers, town.yard.namespace, folder) as gateway:
        body = json.dumps({"weights": {"1": 1}, "shadow": {"2": 50}}).encode()
        headers = {"content-type": "application/json"}
        asked = urllib.request.Request(
            f"{gateway.http}/models/echo/route", body, headers, method="PUT"
        )

        def told() -> bool:
            with suppress(urllib.error.HTTPError), urllib.request.urlopen(asked, timeout=60):
                return True
            return False

        eventually(told, "the models of the node")
        yield gateway


@pytest.fixture
def town(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Iterator[Town]:
    yard = Yard(broker, namespace, tmp_path)
    with yard.node("n1", MODELS=MODELS) as node:
        yield Town(yard, node)


def test_copies_are_answered_where_nobody_waits(town: Town) -> None:
    originals = [f"r{number}" for number in range(20)]
    town.copy(*originals)
    town.copy("r20", model="nobody@1")
    eventually(lambda: len(town.on("compare")) == 21, "all outcomes")
    told = town.on("compare")
    results = {each.key: decode_result(each.value) for each in told}
    assert {each.decode() for each in results if each} == {*originals, "r20"}
    failed = results.pop(b"r20")
    assert failed.error is not None
    assert failed.error.code == "unknown_model"
    assert {(each.status, each.version) for each in results.values()} == {(Status.COMPLETED, "2")}
    assert town.on(*ALL) == []
    with closing(Observer(town.yard.servers, town.yard.namespace)) as seen:
        drafts = town.yard.send([draft("echo@1", ["x"])])
        ids = [each.request_id for each in drafts]
        seen.until(lambda: len(seen.answers(ids)) == 1, "the answer of a request")
    assert len(town.on("results")) == 1
    assert len(town.on("compare")) == 21


def test_what_a_route_says_is_copied_and_compared(town: Town, routed: GatewayProcess) -> None:
    """It counts after ten seconds; then of each request that the hash takes there is a pair."""
    with KafkaClient(town.yard.servers, town.yard.namespace) as client:
        ids: list[str] = []

        def copied() -> bool:
            ids.extend(client.submit("echo", [f"text {number}"]) for number in range(10))
            return bool(town.on("compare"))

        eventually(copied, "the first copy", CAP_S)
        later = [client.submit("echo", [f"text {number}"]) for number in range(200)]
    route = Route(weights={"1": 1}, shadow={"2": 50})
    asked = {each for each in later if shadows("echo", ((0, route),), Asked(each))}
    assert 60 < len(asked) < 140

    def told() -> set[str]:
        return {(each.key or b"").decode() for each in town.on("compare")}

    eventually(lambda: told() >= asked, "the copies' outcomes", CAP_S)
    pairs = [each for each in town.on("compare") if (each.key or b"").decode() in later]
    assert {(each.key or b"").decode() for each in pairs} == asked
    for each in pairs:
        result = decode_result(each.value)
        assert (result.version, result.status) == ("2", Status.COMPLETED)
        assert each.headers[COMPARISON] == b"live"
        assert each.headers[SHADOW_OF] == each.key
    with closing(Observer(town.yard.servers, town.yard.namespace)) as seen:
        assert {each.version for each in seen.answers([*ids, *later])} == {"1"}
        assert seen.results.keys() == {*ids, *later}


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_nodes_are_killed_while_copies_run(town: Town, routed: GatewayProcess) -> None:
    """Who asked is answered once and by the first version; nothing of a copy is told them."""
    ids: list[str] = []
    with (
        town.yard.node("n2", MODELS=MODELS) as other,
        KafkaClient(town.yard.servers, town.yard.namespace) as client,
        closing(Observer(town.yard.servers, town.yard.namespace)) as seen,
    ):

        def ask() -> None:
            ids.extend(client.submit("echo", [f"text {number}"]) for number in range(50))

        def told() -> dict[str, Record]:
            return {(each.key or b"").decode(): each for each in town.on("compare")}

        def more(than: int) -> bool:
            ask()
            return len(told()) > than

        for victim in (town.node, other) * 2:
            eventually(partial(more, len(told())), "copies are run", CAP_S)
            ask()
            victim.kill()
            ask()
            victim.start().wait_ready(CAP_S)
        seen.until(lambda: seen.results.keys() >= {*ids}, "every outcome")
        assert {each.version for each in seen.answers(ids)} == {"1"}
        assert seen.results.keys() == {*ids}
        assert all(len(seen.results[each]) == 1 for each in ids)
    found = told()
    assert found.keys() <= {*ids}
    assert {decode_result(each.value).version for each in found.values()} == {"2"}
    assert town.on("dead-letters") == []
