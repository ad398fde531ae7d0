"""A namespace on a real broker, and the command line on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.cli import main
from modelmora.errors import Code
from modelmora.kafka.reading.reader import Record
from modelmora.kafka.reading.shown import Reader
from modelmora.messages import (
    InferenceRequest,
)
from modelmora.settings import Settings, TopicSettings
from modelmora.wire import (
    encode_request,
)

PARTITIONS = 3
SECRET = "a secret text"


class World:
    """One namespace with its topics, a producer, and the command."""

    def __init__(self, servers: str, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.servers = servers
        self.namespace = namespace
        self.settings = Settings(
            namespace=namespace,
            bootstrap_servers=servers,
            topics=TopicSettings(partitions=PARTITIONS),
        )
        self.err = ""
        self._capsys = capsys
        self._producer = Producer(
            {"bootstrap.servers": servers, "partitioner": "murmur2_random", "log_level": 0}
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """The command's stdout; its exit code must be this."""
        self._capsys.readouterr()
        got = main([*arguments, "--bootstrap-servers", self.servers])
        out, self.err = self._capsys.readouterr()
        assert got == code, self.err + out
        assert SECRET not in out + self.err
        return out

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The command's stdout as JSON."""
        return json.loads(self.run(*arguments, "--json", code=code))

    def write(
        self,
        topic: str,
        value: bytes | None,
        key: str | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> str:
        """Write a record and wait for the broker; its topic:partition:offset."""
        places: list[str] = []
        self._producer.produce(
            f"{self.namespace}.{topic}",
            value,
            key.encode() if key else None,
            headers=dict(headers or {}),
            on_delivery=lambda error, m: places.append(
                str(error) if error else f"{m.topic()}:{m.partition()}:{m.offset()}"
            ),
        )
        assert self._producer.flush(30) == 0
        return places[0]

    def bury(self, value: bytes, source: str, code: Code, **more: bytes) -> str:
        """Write a dead letter as a node does."""
        topic, partition, offset = source.rsplit(":", 2)
        headers = {
            "own": b"\xff",
            "__connect.errors.topic": topic.encode(),
            "__connect.errors.partition": partition.encode(),
            "__connect.errors.offset": offset.encode(),
            "__connect.errors.exception.message": b"it died",
            "modelmora-error-code": code.encode(),
            "modelmora-attempt": b"2",
        }
        return self.write("dead-letters", value, "m", headers | more)

    def records(self, topic: str) -> list[Record]:
        """Everything on a topic."""
        with Reader(self.settings) as reader:
            places = reader.places(f"{self.namespace}.{topic}")
            return list(reader.read(reader.since(places, None)))


@pytest.fixture
def bare(
    broker: EmbeddedBroker,
    namespace: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> World:
    """A namespace without topics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELMORA_NAMESPACE", namespace)
    monkeypatch.setenv("MODELMORA_TOPICS__PARTITIONS", str(PARTITIONS))
    monkeypatch.setenv("MODELMORA_TIMING__PROBE_S", "0")
    return World(broker.bootstrap_servers, namespace, capsys)


@pytest.fixture
def world(bare: World) -> World:
    """A namespace with its topics."""
    bare.run("topics", "create")
    return bare


def request(request_id: str, model: str = "m") -> bytes:
    """The record value of a request."""
    return encode_request(InferenceRequest(request_id, model, (SECRET,)))
