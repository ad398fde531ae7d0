"""Confluent's own serializers on one side, a node and a gateway as processes on the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from modelmora.audit.reading import verified
from modelmora.broker import EmbeddedBroker
from modelmora.cli.cluster.trace import steps_of
from modelmora.kafka.reading.shown import Reader
from modelmora.messages import InferenceRequest
from modelmora.settings import Settings
from modelmora.wire import encode_request
from tests.checker.reading import arrived
from tests.faults.recording import Figures
from tests.nodes import READY_S, NodeProcess
from tests.programs import ROOT, eventually
from tests.schema_registries import FakeRegistry

SCHEMA = (ROOT / "schemas/inference_request.avsc").read_text()
WAIT_S = 2


class Station:
    """A node with a registry, and a client that knows Confluent's libraries and no more."""

    def __init__(self, servers: str, folder: Path, registry: FakeRegistry) -> None:
        self.servers = servers
        self.registry = registry
        self.namespace = f"t{uuid.uuid4().hex[:12]}"
        own = {"SCHEMA_REGISTRY__URL": registry.url, "SCHEMA_REGISTRY__WAIT_S": WAIT_S}
        self.node = NodeProcess(servers, self.namespace, folder, settings=own)
        self.settings = Settings.model_validate(
            {
                "namespace": self.namespace,
                "bootstrap_servers": servers,
                "schema_registry": {"url": registry.url},
            }
        )
        self._client = SchemaRegistryClient({"url": registry.url, "max.retries": 0})
        self._serialize = AvroSerializer(self._client, SCHEMA)
        self._deserialize = AvroDeserializer(self._client)
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        self.records: dict[str, list[Message]] = {}

    def open(self) -> None:
        self.node.start().wait_ready()
        settings = {"bootstrap.servers": self.servers, "group.id": "observer", "log_level": 0}
        self._consumer = Consumer(settings | {"enable.auto.commit": False})
        known = self._consumer.list_topics(timeout=30).topics
        self._consumer.assign(
            [
                TopicPartition(topic, partition, 0)
                for topic in known
                if topic.startswith(self.namespace)
                for partition in known[topic].partitions
            ]
        )

    def close(self) -> None:
        self._consumer.close()
        code = self.node.stop()
        self._client.close()
        assert code == 0, self.node.tail()

    def topic(self, name: str) -> str:
        return f"{self.namespace}.{name}"

    def send(self, value: bytes) -> None:
        self._producer.produce(self.topic("requests.normal"), value, "echo")
        assert self._producer.flush(60) == 0

    def serialized(self, request_id: str, text: str = "a text") -> bytes:
        """A request as Confluent's serializer writes it."""
        datum = {"request_id": request_id, "model": "echo", "inputs": [text, b"bytes"]}
        context = SerializationContext(self.topic("requests.normal"), MessageField.VALUE)
        return bytes(self._serialize(datum, context))

    def read(self, message: Message) -> dict[str, Any]:
        """A record as Confluent's deserializer reads it."""
        context = SerializationContext(message.topic(), MessageField.VALUE)
        found: dict[str, Any] = self._deserialize(message.value(), context)
        return found

    def find(self, name: str, wanted: Callable[[Message], bool], count: int = 1) -> list[Message]:
        """The records of a topic that are wanted, as soon as there are so many."""
        topic = self.topic(name)

        def look() -> list[Message]:
            found = [each for each in self.records.get(topic, ()) if wanted(each)]
            if len(found) >= count:
                return found
            for message in arrived(self._consumer, 0.2):
                if message.error() is None:
                    self.records.setdefault(message.topic(), []).append(message)
            return []

        return eventually(look, f"{count} records of {name}", READY_S)

    def result(self, request_id: str) -> dict[str, Any]:
        """The one result of a request."""
        (message,) = self.find("results", lambda each: each.key() == request_id.encode())
        return self.read(message)

    def letter(self, value: bytes) -> dict[str, bytes]:
        """The headers of the dead letter that is these bytes."""
        (message,) = self.find("dead-letters", lambda each: each.value() == value)
        return dict(message.headers())


@pytest.fixture(scope="module")
def station(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    with FakeRegistry() as registry:
        station = Station(broker.bootstrap_servers, tmp_path_factory.mktemp("node"), registry)
        station.open()
        yield station
        station.close()


def test_a_round_trip_of_confluents_serializers(station: Station) -> None:
    station.send(station.serialized("confluent-1"))
    result = station.result("confluent-1")
    assert (result["status"], result["outputs"]) == ("COMPLETED", ["a text", b"bytes"])
    (message,) = station.find("results", lambda each: each.key() == b"confluent-1")
    assert message.value()[0] == 0
    assert f"{station.topic('results')}-value" in station.registry.subjects


def test_single_object_encoding_still_comes_in(station: Station) -> None:
    station.send(encode_request(InferenceRequest("single-1", "echo", ("x",))))
    assert station.result("single-1")["outputs"] == ["x"]


def test_what_the_node_tells_is_readable_too(station: Station) -> None:
    event = station.read(station.find("events", bool)[0])
    assert event["node"] == "n1"
    models = {station.read(each)["name"] for each in station.find("registry", bool, 2)}
    assert "echo" in models


def test_the_audit_is_verified_in_this_form_too(station: Station) -> None:
    (first, *_) = station.find("audit", bool)
    assert station.read(first)["verb"] == "start"
    assert first.value()[0] == 0
    with Reader(station.settings) as reader:
        report = verified(station.settings, reader)
    assert report.findings == []
    assert report.records >= 1
    assert report.writers[first.key().decode()].heads >= 1


def test_a_schema_that_is_not_ours_is_dead_lettered(station: Station) -> None:
    number = station.registry.add("others", '{"type":"record","name":"Other","fields":[]}')
    other = b"\x00" + number.to_bytes(4, "big") + station.serialized("other-1")[5:]
    nobodys = b"\x00\x00\x00\x03\xe7" + station.serialized("nobodys-1")[5:]
    broken = station.serialized("broken-1") + b"more"
    for value in (other, nobodys, broken):
        station.send(value)
    station.send(station.serialized("neighbour-1"))
    assert station.letter(other)["modelmora-error-code"] == b"unknown_schema"
    assert station.letter(nobodys)["modelmora-error-code"] == b"unknown_schema"
    assert station.letter(broken)["modelmora-error-code"] == b"trailing_bytes"
    assert station.result("broken-1")["status"] == "FAILED"
    assert station.result("neighbour-1")["status"] == "COMPLETED"


@pytest.mark.row("F11")
@pytest.mark.parametrize("how", ["down", "failing", "slow"])
def test_a_registry_that_does_not_tell(station: Station, how: str, figures: Figures) -> None:
    known = station.serialized(f"{how}-1")
    station.send(known)
    station.result(f"{how}-1")
    # The same schema, written as nobody has yet: an id that the node has to ask for.
    width = {"down": 7, "failing": 8, "slow": 9}[how]
    number = station.registry.add("others", json.dumps(json.loads(SCHEMA), indent=width))
    unknown = b"\x00" + number.to_bytes(4, "big") + known[5:]
    later = [station.serialized(f"{how}-{each}") for each in (2, 3)]
    with failing(station.registry, how):
        station.send(unknown)
        station.send(later[0])
        assert station.result(f"{how}-2")["status"] == "COMPLETED"
        headers = station.letter(unknown)
        assert headers["modelmora-error-code"] == b"unknown_schema"
        message = headers["__connect.errors.exception.message"].decode()
        assert f"did not tell schema id {number} within {WAIT_S} s" in message
    began = time.monotonic()
    station.send(b"\x00" + number.to_bytes(4, "big") + later[1][5:])
    assert station.result(f"{how}-3")["status"] == "COMPLETED"
    figures.add(requests=4, faults=1)
    figures.recovered(time.monotonic() - began)


@contextmanager
def failing(registry: FakeRegistry, how: str) -> Iterator[None]:
    """In one of three ways."""
    if how == "slow":
        registry.at_once.clear()
    else:
        registry.down, registry.fault = True, 503 if how == "down" else 500
    try:
        yield
    finally:
        registry.down = False
        registry.at_once.set()


def test_a_trace_reads_both(station: Station) -> None:
    value = station.serialized("traced-1") + b"more"
    station.send(value)
    station.result("traced-1")
    with Reader(station.settings) as reader:
        steps = steps_of(reader, station.settings, "traced-1")
    assert [step.topic for step in steps] == ["requests.normal", "dead-letters", "results"]
    assert steps[0].what.startswith("broken: trailing_bytes")
    assert "FAILED trailing_bytes" in steps[-1].what


def test_a_trace_while_the_registry_is_down(station: Station) -> None:
    station.send(station.serialized("traced-2"))
    station.result("traced-2")
    station.registry.down = True
    told: list[str] = []
    try:
        with Reader(station.settings, told.append) as reader:
            steps = steps_of(reader, station.settings, "traced-2")
    finally:
        station.registry.down = False
    assert "not readable" in steps[-1].what
    (line,) = told
    assert "does not answer" in line


def test_through_the_gateway(station: Station) -> None:
    reading, writing = os.pipe()
    environment = os.environ | {
        "MODELMORA_BOOTSTRAP_SERVERS": station.servers,
        "MODELMORA_NAMESPACE": station.namespace,
        "MODELMORA_HTTP_PORT": "0",
        "MODELMORA_GRPC_PORT": "0",
        "MODELMORA_SCHEMA_REGISTRY__URL": station.registry.url,
        "MODELMORA_NOTIFY_FD": str(writing),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "modelmora.gateway"],
        env=environment,
        cwd=ROOT,
        pass_fds=(writing,),
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as lines:
            facts = json.loads(lines.readline())
        request = urllib.request.Request(
            f"{facts['http']}/infer/echo",
            json.dumps({"inputs": ["through the door"]}).encode(),
            {"Content-Type": "application/json", "X-Request-Id": "own-1"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = json.load(answer)
        assert "through the door" in json.dumps(told)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer) == told  # found by looking back
    finally:
        process.terminate()
        assert process.wait(60) == 0
    # What the gateway writes is in the registry's format too.
    written = station.find(
        "requests.normal", lambda each: "modelmora-gateway" in dict(each.headers() or ())
    )
    assert [station.read(each)["request_id"] for each in written] == ["own-1"]
    assert all(each.value()[0] == 0 for each in written)
