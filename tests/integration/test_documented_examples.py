"""The programs in README and docs do what they say, against a real Kafka."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.admin import Admin
from modelmora.messages import InferenceResult, Source, Status, Tensor
from modelmora.settings import load_settings
from modelmora.wire import decode_request, encode_result, partition_of

ROOT = Path(__file__).parents[2]
PARTITIONS = 3


def programs(page: str) -> list[str]:
    """The Python programs on a page; fragments without an import are none."""
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [block for block in blocks if block.startswith("import ")]


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


def run_example(program: str, namespace: str, folder: Path) -> None:
    """Run a program from the documentation in the namespace of this test."""
    adapted = program.replace("modelmora.re", f"{namespace}.re")
    assert adapted != program
    done = subprocess.run(
        [sys.executable, "-c", adapted],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/howto/produce.md"])
def test_producer(page: str, broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
    (program,) = programs(page)
    run_example(program, namespace, folder)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": namespace})
    topic = f"{namespace}.requests.normal"
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    record = consumer.poll(30)
    consumer.close()
    assert record is not None
    assert record.error() is None
    request = decode_request(record.value())
    assert request.model == "all-minilm-l6-v2"
    assert uuid.UUID(request.request_id)
    assert all(isinstance(text, str) for text in request.inputs)
    assert record.key() == b"all-minilm-l6-v2"
    assert record.partition() == partition_of(b"all-minilm-l6-v2", PARTITIONS)


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
