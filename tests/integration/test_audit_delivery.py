"""Requests as other clients and other times leave them: compressed, old, beside a foreign clock."""

from __future__ import annotations

import time
from pathlib import Path

from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.messages import ControlCommand, ControlVerb, InferenceRequest, Status
from modelmora.wire import encode_control, encode_request
from tests.nodes import NodeProcess, Observer
from tests.topics import create_topic

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
HALF_AN_HOUR_MS = 1_800_000


def request(request_id: str, timeout_ms: int | None = None, *, progress: bool = False) -> bytes:
    return encode_request(
        InferenceRequest(request_id, "echo", ("text",), timeout_ms=timeout_ms, progress=progress)
    )


def send(
    servers: str, namespace: str, codec: str, count: int, timeout_ms: int | None = None
) -> list[str]:
    """As many requests in one compressed batch; their ids."""
    kafka = {"bootstrap.servers": servers, "compression.type": codec, "linger.ms": 100}
    producer = Producer(kafka | {"log_level": 0})
    ids = [f"{codec}-{timeout_ms}-{number}" for number in range(count)]
    for request_id in ids:
        producer.produce(f"{namespace}.requests.normal", request(request_id, timeout_ms), b"echo")
    assert producer.flush(60) == 0
    return ids


def test_requests_may_be_compressed_and_are_not_run_too_late(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    """The first request that a node reads must not set the clock back to its own time."""
    servers = broker.bootstrap_servers
    with NodeProcess(servers, namespace, tmp_path) as node:
        compressed = [send(servers, namespace, codec, 20) for codec in CODECS]
        seen = Observer(servers, namespace)
        answers = [each for ids in compressed for each in seen.answers(ids)]
        assert {answer.status for answer in answers} == {Status.COMPLETED}
        assert node.stop() == 0
        late = send(servers, namespace, "none", 5, timeout_ms=1)
        node.start().wait_ready()
        answers = seen.answers(late)
        seen.close()
        assert {answer.status for answer in answers} == {Status.EXPIRED}
        messages = {answer.error.message for answer in answers if answer.error}
        assert messages == {"its deadline had passed when it arrived"}
        assert node.stop() == 0


def test_topics_that_others_made_do_no_harm(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    """Of `control` with its clients' time a command from the future ends nothing; progress of fewer
    partitions does not hold up results."""
    servers = broker.bootstrap_servers
    create_topic(servers, f"{namespace}.control", message_timestamp_type="CreateTime")
    create_topic(servers, f"{namespace}.progress", message_timestamp_type="LogAppendTime")
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    command = encode_control(ControlCommand(ControlVerb.CANCEL, "another"))
    later = time.time_ns() // 1_000_000 + HALF_AN_HOUR_MS
    producer.produce(f"{namespace}.control", command, b"another", timestamp=later)
    assert producer.flush(60) == 0
    with NodeProcess(servers, namespace, tmp_path) as node:
        for number in range(12):
            value = request(f"r{number}", progress=True)
            producer.produce(f"{namespace}.requests.normal", value, b"echo")
        assert producer.flush(60) == 0
        seen = Observer(servers, namespace)
        answers = seen.answers(f"r{number}" for number in range(12))
        seen.close()
        assert {answer.status for answer in answers} == {Status.COMPLETED}
        assert node.stop() == 0
