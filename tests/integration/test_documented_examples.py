"""The programs in README and docs do what they say, against a real Kafka."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.admin import Admin
from modelmora.kafka.events import cloud_event
from modelmora.messages import (
    EventKind,
    InferenceResult,
    LifecycleEvent,
    Source,
    Status,
    Tensor,
)
from modelmora.settings import load_settings
from modelmora.wire import decode_request, encode_event, encode_result, partition_of
from modelmora.wire.plainjson import encode_json, is_json

ROOT = Path(__file__).parents[2]
PARTITIONS = 3


def programs(page: str, language: str = "python") -> list[str]:
    """The programs on a page; Python without an import is a fragment of one."""
    text = (ROOT / page).read_text()
    found = re.findall(rf"^ *```{language}[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    blocks = [textwrap.dedent(block) for block in found]
    return [block for block in blocks if language != "python" or block.startswith("import ")]


@pytest.fixture
def folder(tmp_path: Path, broker: EmbeddedBroker, namespace: str) -> Path:
    """A working directory as the examples expect it: schemas, and a running instance's run.json."""
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    (tmp_path / ".modelmora").mkdir()
    run = {"bootstrap_servers": broker.bootstrap_servers}
    (tmp_path / ".modelmora" / "run.json").write_text(json.dumps(run))
    settings = load_settings(
        bootstrap_servers=broker.bootstrap_servers,
        namespace=namespace,
        topics={"partitions": PARTITIONS},
    )
    Admin(settings).create()
    return tmp_path


def completed(request_id: str) -> InferenceResult:
    return InferenceResult(
        request_id=request_id,
        status=Status.COMPLETED,
        model="all-minilm-l6-v2",
        version="1",
        source=Source("t", 0, 0),
        outputs=(Tensor("embedding", "FP32", (1, 1), b"\0\0\0\0"),),
    )


def start_example(
    program: list[str], namespace: str, folder: Path, servers: str
) -> subprocess.Popen[str]:
    """Run the last word, a program from the documentation, in the namespace of this test."""
    *interpreter, text = program
    adapted = text.replace("modelmora.re", f"{namespace}.re")
    assert adapted != text
    return subprocess.Popen(
        [*interpreter, adapted],
        cwd=folder,
        env={**os.environ, "KAFKA": servers},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_request(broker: EmbeddedBroker, namespace: str) -> str:
    """The id of the first request on lane normal, which is as the documentation says."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": namespace})
    topic = f"{namespace}.requests.normal"
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    record = consumer.poll(30)
    consumer.close()
    assert record is not None
    assert record.error() is None
    value, headers = record.value(), record.headers() or ()
    if is_json(value, headers):
        value = encode_json(value, record.key(), headers, Source(topic, 0, 0), 0)
    request = decode_request(value)
    assert request.model == "all-minilm-l6-v2"
    assert uuid.UUID(request.request_id)
    assert all(isinstance(text, str) for text in request.inputs)
    assert record.key() == b"all-minilm-l6-v2"
    assert record.partition() == partition_of(b"all-minilm-l6-v2", PARTITIONS)
    return request.request_id


def test_producer(broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
    (program,) = programs("README.md")
    servers = broker.bootstrap_servers
    with start_example([sys.executable, "-c", program], namespace, folder, servers) as running:
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert out == f"follow it: .venv/bin/modelmora trace {first_request(broker, namespace)}\n"


CALLERS = [
    pytest.param("docs/index.md", "python", [sys.executable, "-c"], "COMPLETED", id="home"),
    pytest.param(
        "docs/howto/clients.md", "python", [sys.executable, "-c"], "COMPLETED", id="python"
    ),
]


@pytest.mark.parametrize(("page", "language", "interpreter", "told"), CALLERS)
def test_caller(
    page: str,
    language: str,
    interpreter: list[str],
    told: str,
    broker: EmbeddedBroker,
    namespace: str,
    folder: Path,
) -> None:
    """Programs that send a request and wait for its outcome; the test is the node."""
    (program,) = programs(page, language)
    words = [*interpreter, program]
    with start_example(words, namespace, folder, broker.bootstrap_servers) as running:
        request_id = first_request(broker, namespace)
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        producer.produce(
            f"{namespace}.results", encode_result(completed(request_id)), key=request_id
        )
        assert producer.flush(30) == 0
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert out.startswith(f"{request_id} {told}")


def test_reader(broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
    (program,) = programs("docs/howto/results.md")
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})

    def write(request_id: str) -> None:
        producer.produce(f"{namespace}.results", encode_result(completed(request_id)), partition=0)
        assert producer.flush(30) == 0

    for request_id in ("one", "one"):
        write(request_id)
    adapted = program.replace("my-results", namespace).replace("modelmora.re", f"{namespace}.re")
    reader = subprocess.Popen(
        [sys.executable, "-u", "-c", adapted], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    with reader:
        try:
            assert reader.stdout
            assert reader.stdout.readline() == "one COMPLETED 0.0\n"
            write("two")
            # In the same partition, so the second "one" was read and passed over.
            assert reader.stdout.readline() == "two COMPLETED 0.0\n"
        finally:
            reader.kill()


def test_event_subscriber(broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
    (program,) = programs("docs/howto/events.md")
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for kind in (EventKind.LOADING, EventKind.LOADED):
        event = LifecycleEvent(kind.value, kind, "n1", 0, "m", "1", {"load_ms": 1.5})
        headers = cloud_event(event, "/ns/nodes/n1")
        producer.produce(f"{namespace}.events", encode_event(event), "m", headers=headers)
    assert producer.flush(30) == 0
    adapted = program.replace("my-events", namespace).replace(
        "modelmora.events", f"{namespace}.events"
    )
    env = {**os.environ, "KAFKA": broker.bootstrap_servers}
    command = [sys.executable, "-c", adapted]
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True
    ) as reader:
        try:
            assert reader.stdout
            assert reader.stdout.readline() == "loaded m {'load_ms': 1.5}\n"
        finally:
            reader.kill()
