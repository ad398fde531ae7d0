"""Copies of requests on a real node: answered on `compare`, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.messages import InferenceRequest, Status
from modelmora.messages.headers import COMPARISON, SHADOW_OF
from modelmora.wire import decode_result, encode_request
from modelmora.wire.ids import shadow_id
from tests.checker.reading import Record, read_records
from tests.foreign import draft
from tests.integration.test_nodes import Yard
from tests.nodes import NodeProcess, Observer
from tests.programs import eventually

MODELS = json.dumps(
    [
        {"name": "echo", "version": each, "task": "echo", "source": "builtin:echo"}
        for each in ("1", "2")
    ]
)
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
