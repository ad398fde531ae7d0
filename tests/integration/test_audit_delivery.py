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


def test_requests_may_be_compressed(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> None:
    servers = broker.bootstrap_servers
    with NodeProcess(servers, namespace, tmp_path) as node:
        for codec in CODECS:
            producer = Producer(
                {
                    "bootstrap.servers": servers,
                    "compression.type": codec,
                    "linger.ms": 100,
                    "log_level": 0,
                }
            )
            for number in range(20):
                producer.produce(
                    f"{namespace}.requests.normal", request(f"{codec}-{number}"), b"echo"
                )
            assert producer.flush(60) == 0
        seen = Observer(servers, namespace)
        answers = seen.answers(f"{codec}-{number}" for codec in CODECS for number in range(20))
        seen.close()
        assert {answer.status for answer in answers} == {Status.COMPLETED}
        assert node.stop() == 0


def test_what_was_late_before_the_node_came_is_not_run(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    """The first request read must not set the clock back to its own time."""
    servers = broker.bootstrap_servers
    with NodeProcess(servers, namespace, tmp_path) as node:
        assert node.stop() == 0
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    for number in range(5):
        producer.produce(f"{namespace}.requests.normal", request(f"r{number}", 1), b"echo")
    assert producer.flush(60) == 0
    with NodeProcess(servers, namespace, tmp_path) as node:
        seen = Observer(servers, namespace)
        answers = seen.answers(f"r{number}" for number in range(5))
        seen.close()
        assert {answer.status for answer in answers} == {Status.EXPIRED}
        messages = {answer.error.message for answer in answers if answer.error}
        assert messages == {"its deadline had passed when it arrived"}
        assert node.stop() == 0


def test_no_clients_clock_is_believed(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    """`control` may carry its clients' time by now; a command from the future ends nothing."""
    servers = broker.bootstrap_servers
    create_topic(servers, f"{namespace}.control", message_timestamp_type="CreateTime")
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    command = encode_control(ControlCommand(ControlVerb.CANCEL, "another"))
    later = time.time_ns() // 1_000_000 + HALF_AN_HOUR_MS
    producer.produce(f"{namespace}.control", command, b"another", timestamp=later)
    assert producer.flush(60) == 0
    with NodeProcess(servers, namespace, tmp_path) as node:
        producer.produce(f"{namespace}.requests.normal", request("r1"), b"echo")
        assert producer.flush(60) == 0
        seen = Observer(servers, namespace)
        (answer,) = seen.answers(["r1"])
        seen.close()
        assert answer.status is Status.COMPLETED
        assert node.stop() == 0


def test_progress_of_fewer_partitions_does_not_hold_up_results(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    servers = broker.bootstrap_servers
    create_topic(servers, f"{namespace}.progress", message_timestamp_type="LogAppendTime")
    with NodeProcess(servers, namespace, tmp_path) as node:
        producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        for number in range(12):
            value = request(f"r{number}", progress=True)
            producer.produce(f"{namespace}.requests.normal", value, b"echo")
        assert producer.flush(60) == 0
        seen = Observer(servers, namespace)
        answers = seen.answers(f"r{number}" for number in range(12))
        seen.close()
        assert {answer.status for answer in answers} == {Status.COMPLETED}
        assert node.stop() == 0
