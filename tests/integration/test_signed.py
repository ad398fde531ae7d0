"""A cluster with a secret: callers by a gateway, a program with a key, and one that lies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from modelmora.access.files import KeyFile
from modelmora.access.keys import made
from modelmora.access.signing import key_text
from modelmora.broker import EmbeddedBroker
from modelmora.client import CallError
from modelmora.client.kafka import KafkaClient
from modelmora.errors import Code
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    InferenceRequest,
    InferenceResult,
    LifecycleEvent,
)
from modelmora.messages.headers import principal_of
from modelmora.settings import AccessSettings, Settings
from modelmora.wire import (
    decode_event,
    decode_request_head,
    decode_result,
    encode_control,
    encode_request,
    new_request_id,
)
from tests.nodes import PARTITIONS, GatewayProcess, NodeProcess
from tests.programs import eventually

SECRET = "s" * 32
CAP_S = 60.0
LONG_MS = 5000.0
MODELS = json.dumps(
    [{"name": each, "task": each, "source": f"builtin:{each}"} for each in ("echo", "sleep")]
)
GRANTS = json.dumps({"alice": ["caller"], "bob": ["caller"], "topic:billing": ["caller"]})
Headers = list[tuple[str, bytes | None]]


class Cluster:
    """A node and a gateway that share a secret, and who writes and reads beside them."""

    def __init__(self, servers: str, namespace: str, folder: Path) -> None:
        self.servers, self.namespace = servers, namespace
        shared = {"ACCESS__CLUSTER_SECRET": SECRET, "ACCESS__GRANTS": GRANTS, "MODELS": MODELS}
        for each in ("node", "gateway"):
            (folder / each).mkdir()
        file = KeyFile.of(Settings(data_dir=folder / "gateway"))
        self.keys: dict[str, str] = {}

        def make(keys: Any, pepper: bytes) -> Any:
            for who in ("alice", "bob"):
                self.keys[who], key = made(keys, who, pepper, 0)
                keys = (*keys, key)
            return keys

        file.change(make)
        self.node = NodeProcess(servers, namespace, folder / "node", "n1", shared)
        own = {"ACCESS__CALLERS": "keys"}
        self.gateway = GatewayProcess(servers, namespace, folder / "gateway", shared | own)
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        self.read: dict[str, list[Message]] = {}

    def start(self) -> None:
        self.node.start().wait_ready()
        self.gateway.start().wait_ready()
        kafka = {"bootstrap.servers": self.servers, "group.id": "reader", "log_level": 0}
        self._consumer = Consumer(kafka | {"enable.auto.commit": False})
        known = self._consumer.list_topics(timeout=30).topics
        topics = [f"{self.namespace}.{each}" for each in ("results", "events", "requests.normal")]
        there = [TopicPartition(each, p, 0) for each in topics for p in known[each].partitions]
        self._consumer.assign(there)

    def close(self) -> None:
        self._consumer.close()
        for each in (self.gateway, self.node):
            if each.running:
                each.kill()

    def look(self) -> None:
        for message in self._consumer.consume(500, 0.2):
            if message.error() is None:
                topic = message.topic().removeprefix(f"{self.namespace}.")
                self.read.setdefault(topic, []).append(message)

    def outcomes(self, request_id: str, number: int) -> list[tuple[str, InferenceResult]]:
        """So many outcomes of an id in the order of their coming, each with whose it is."""
        found: list[tuple[str, InferenceResult]] = []

        def there() -> bool:
            self.look()
            told = self.read.get("results", [])
            mine = [each for each in told if each.key() == request_id.encode()]
            found[:] = [
                (principal_of(each.headers() or ()), decode_result(each.value())) for each in mine
            ]
            return len(found) >= number

        eventually(there, f"{number} outcomes", CAP_S)
        return found

    def request(self, request_id: str) -> Message:
        """The record of a request, as it lies there."""
        found: list[Message] = []

        def there() -> bool:
            self.look()
            asked = self.read.get("requests.normal", [])
            found[:] = [
                each for each in asked if decode_request_head(each.value()).request_id == request_id
            ]
            return bool(found)

        eventually(there, "the request", CAP_S)
        return found[0]

    def write(
        self, topic: str, value: bytes, key: str, headers: Headers, partition: int | None = None
    ) -> None:
        place = {} if partition is None else {"partition": partition}
        name = f"{self.namespace}.{topic}"
        self._producer.produce(name, value, key, headers=headers, **place)
        assert self._producer.flush(30) == 0

    def called(self, who: str) -> httpx.Client:
        key = {"authorization": f"Bearer {self.keys[who]}"}
        return httpx.Client(base_url=self.gateway.http, headers=key, timeout=CAP_S)

    def client(self, **access: Any) -> KafkaClient:
        settings = Settings(access=AccessSettings(**access))
        return KafkaClient(self.servers, self.namespace, settings=settings)


@pytest.fixture(scope="module")
def cluster(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    namespace = f"t{new_request_id()[-12:]}"
    made = Cluster(broker.bootstrap_servers, namespace, tmp_path_factory.mktemp("signed"))
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_caller_is_itself_on_the_node_too(cluster: Cluster) -> None:
    with cluster.called("alice") as alice:
        answer = alice.post("/infer/echo", json={"inputs": ["a"]})
    assert answer.status_code == 200, answer.text
    ((who, result),) = cluster.outcomes(answer.json()["request_id"], 1)
    assert (who, result.outputs) == ("alice", ("a",))


def test_a_program_with_a_key_is_its_principal_and_one_without_is_nobody_else(
    cluster: Cluster,
) -> None:
    key = key_text(SECRET.encode(), "bob")
    with cluster.client(signing_key=key) as bob:
        assert bob.infer("echo", ["a"]).outputs == ("a",)
        signed = bob.ask("echo", ["b"]).result()
    assert [who for who, _ in cluster.outcomes(signed.request_id, 1)] == ["bob"]
    with cluster.client() as nobody:
        for name in ("bob", ""):
            with pytest.raises(CallError) as caught:
                nobody.infer("echo", ["a"], principal=name)
            assert caught.value.code == Code.FORBIDDEN
        outcome = nobody.ask("echo", ["c"], principal="billing").result()
    ((who, result),) = cluster.outcomes(outcome.request_id, 1)
    assert (who, result.outputs) == ("topic:billing", ("c",))
    with cluster.client(signing_key=key_text(b"z" * 32, "bob")) as stale:
        with pytest.raises(CallError, match="signature") as caught:
            stale.infer("echo", ["a"])
        assert caught.value.code == Code.FORBIDDEN


def test_a_writer_who_lies_changes_nothing_of_what_a_caller_sees(cluster: Cluster) -> None:
    """It knows the id, and has read the record with its signature."""
    with cluster.called("alice") as alice, cluster.called("bob") as bob:
        body = {"inputs": ["mine"], "parameters": {"ms": LONG_MS}}
        request_id = alice.post("/infer/sleep/async", json=body).json()["request_id"]
        record = cluster.request(request_id)
        own = record.headers() or []
        value = record.value()
        elsewhere = (record.partition() + 1) % PARTITIONS
        claimed: Headers = [("modelmora-principal", b"alice"), ("modelmora-job", b"1")]
        false = encode_request(InferenceRequest(request_id, "echo", ("false",)))
        lies: list[tuple[bytes, Headers]] = [
            (false, claimed),
            (false, [*claimed, ("modelmora-run", b"9")]),
            (false, own),
            (value[:-1], own),
            (value, [*own, ("modelmora-or-busy", b"")]),
            (value, [*own, ("kafka_replyTopic", b"mine")]),
        ]
        for each, headers in lies:
            cluster.write("requests.normal", each, "sleep", headers, elsewhere)
        cancel = encode_control(ControlCommand(ControlVerb.CANCEL, request_id, "alice"))
        for headers in (claimed[:1], []):
            cluster.write("control", cancel, request_id, headers, 0)
        told = cluster.outcomes(request_id, 2)
        assert {who for who, _ in told} == {"topic:alice"}, "its own runs still"
        job = alice.get(f"/jobs/{request_id}").json()
        assert job["state"] in ("queued", "loading", "processing")
        assert bob.get(f"/jobs/{request_id}").status_code == 404
        eventually(
            lambda: alice.get(f"/jobs/{request_id}").json()["state"] == "completed",
            "the job ends as it would",
            CAP_S,
        )
        assert alice.get(f"/jobs/{request_id}/result").json()["outputs"] == ["mine"]
    told = cluster.outcomes(request_id, 1 + len(lies))
    assert [result.outputs for who, result in told if who == "alice"] == [("mine",)]
    others = [result for who, result in told if who == "topic:alice"]
    assert len(others) == len(lies)
    assert all(each.error for each in others)


def test_orders_are_of_who_may_give_them(cluster: Cluster) -> None:
    with cluster.called("alice") as alice:
        assert alice.post("/infer/echo", json={"inputs": ["a"]}).status_code == 200
    command = encode_control(ControlCommand(ControlVerb.UNLOAD, "echo", "alice"))
    cluster.write("control", command, "echo", [("modelmora-principal", b"alice")], 0)
    found: list[LifecycleEvent] = []

    def answered() -> bool:
        cluster.look()
        events = [decode_event(each.value()) for each in cluster.read.get("events", [])]
        found[:] = [each for each in events if each.facts.get("verb") == "UNLOAD"]
        return bool(found)

    eventually(answered, "an answer", CAP_S)
    assert "topic:alice may not unload echo@1" in str(found[0].facts["message"])
    assert "echo" in cluster.node.models()


def test_a_gateway_without_the_secret_is_told_so_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """Not when the caller's time is over, and not with what somebody else has asked."""
    stray = GatewayProcess(cluster.servers, cluster.namespace, tmp_path)
    with stray, httpx.Client(base_url=stray.http, timeout=CAP_S) as caller:
        answer = caller.post("/infer/echo", json={"inputs": ["a"], "timeout_ms": 50_000})
    assert answer.status_code == 403, answer.text
    assert "topic:local" in answer.json()["detail"]
    assert "access.cluster_secret" in answer.json()["detail"]
