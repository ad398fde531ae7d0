"""A stand-in for nodes, made of fastavro and confluent-kafka: answers requests by model name.

`echo` returns its inputs, `refuse` ends with the code in its parameter `code`, `silent` never
answers. Run as a program it serves `BOOTSTRAP NAMESPACE` until its standard input ends.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

SCHEMAS = Path(__file__).parents[3] / "schemas"
LANES = ("critical", "high", "normal", "low")
HEADER = 10
REPLY_PARTITION = "modelmora-reply-partition"
STATUS = {"expired": "EXPIRED", "cancelled": "CANCELLED", "stopped": "STOPPED"}
REFUSED = ("unknown_model", "unknown_parameter", "invalid_input", "busy", "starting", "stopping")


class Codec:
    """One schema file: single-object bytes to plain data and back."""

    def __init__(self, name: str) -> None:
        schema = json.loads((SCHEMAS / f"{name}.avsc").read_text())
        digest = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
        self._header = b"\xc3\x01" + bytes.fromhex(digest)
        self._schema = parse_schema(schema)

    def encode(self, datum: dict[str, Any]) -> bytes:
        out = BytesIO(self._header)
        out.seek(HEADER)
        schemaless_writer(out, self._schema, datum)
        return out.getvalue()

    def decode(self, value: bytes) -> Any:
        assert value[:HEADER] == self._header
        stream = BytesIO(value)
        stream.seek(HEADER)
        return schemaless_reader(stream, self._schema, None, return_record_name=True)


REQUEST, RESULT, PROGRESS, CONTROL, REGISTRY = map(
    Codec,
    (
        "inference_request",
        "inference_result",
        "progress_event",
        "control_command",
        "registry_record",
    ),
)


RENEW_S = 0.2


class Responder:
    """Reads all lanes and `control` from their beginning; `seen` and `commands` tell what."""

    def __init__(self, bootstrap: str, namespace: str) -> None:
        self._namespace = namespace
        base = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._producer = Producer(base | {"linger.ms": 0, "acks": "all"})
        self._consumer = Consumer(
            base
            | {"group.id": f"{namespace}.responder", "enable.auto.commit": False}
            | {"fetch.wait.max.ms": 100, "enable.partition.eof": False}
        )
        topics = self._consumer.list_topics(timeout=30).topics
        wanted = [f"{namespace}.requests.{lane}" for lane in LANES] + [f"{namespace}.control"]
        self._consumer.assign(
            [
                TopicPartition(topic, number, OFFSET_BEGINNING)
                for topic in wanted
                for number in topics[topic].partitions
            ]
        )
        self._ended = threading.Event()
        self._serves: dict[str, str] = {}
        self._present, self._told = False, 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: queue.Queue[tuple[Any, dict[str, Any]]] = queue.Queue()
        self.commands: queue.Queue[dict[str, Any]] = queue.Queue()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(30)
        self._consumer.close()
        self._producer.flush(5)

    def register(self, name: str, version: str = "1", max_inputs: int | None = None) -> None:
        """Write the model into the registry."""
        record: dict[str, Any] = {"kind": "MODEL", "name": name, "version": version, "task": "echo"}
        record |= {"source": "tests", "writer": "tests", "max_inputs": max_inputs}
        self._producer.produce(
            f"{self._namespace}.registry", REGISTRY.encode(record), f"MODEL:{name}@{version}"
        )
        assert self._producer.flush(30) == 0
        self._serves[f"{name}@{version}"] = "echo"
        self.lease()

    def lease(self, present: bool = True) -> None:
        """Tell that a node runs, which serves what was registered; or that it has left."""
        self._present = present
        self._told = time.monotonic()
        record: dict[str, Any] = {"kind": "NODE", "name": "responder", "writer": "tests"}
        record |= {"version": "", "task": "", "source": ""}
        record |= {"lease_ms": 2000, "serves": dict(self._serves), "partitions": [0]}
        value = REGISTRY.encode(record) if present else None
        self._producer.produce(f"{self._namespace}.registry", value, "NODE:responder@")
        assert self._producer.flush(30) == 0

    def accept(self, message: Any, request: dict[str, Any]) -> None:
        """Announce that the request is accepted."""
        event = {"request_id": request["request_id"], "stage": "ACCEPTED", "position": 0}
        event |= {"model": request["model"], "estimate_ms": 1.0}
        self._reply("progress", message, request["request_id"], PROGRESS.encode(event))

    def answer(
        self, message: Any, request: dict[str, Any], code: str | None = None, run: int = 1
    ) -> None:
        """Write the outcome of a request."""
        parameters = request["parameters"]
        error = code and {
            "code": code,
            "message": "asked for",
            "retry_after_ms": parameters.get("retry_after_ms"),
        }
        failed = "REFUSED" if code in REFUSED else STATUS.get(code or "", "FAILED")
        result = {
            "request_id": request["request_id"],
            "status": failed if code else "COMPLETED",
            "model": request["model"].partition("@")[0],
            "version": "1",
            "settings": {},
            "error": error,
            "timings": {"queue_ms": 1.0, "load_ms": 0.0, "inference_ms": 2.0, "total_ms": 3.0},
            "source": {
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
            },
            "attempt": 1,
            "outputs": [] if code else request["inputs"],
            "run": run,
        }
        self._reply("results", message, request["request_id"], RESULT.encode(result))

    def _reply(self, topic: str, request: Any, request_id: str, value: bytes) -> None:
        """Write it where the request asks for it, else where its id belongs by now."""
        name = f"{self._namespace}.{topic}"
        while not (
            count := len(self._producer.list_topics(name, timeout=30).topics[name].partitions)
        ):
            time.sleep(0.05)
        wanted = int(dict(request.headers()).get(REPLY_PARTITION, -1))
        partition = wanted if 0 <= wanted < count else partitioner_of(request_id, count)
        self._producer.produce(name, value, request_id, partition)
        self._producer.poll(0)

    def _run(self) -> None:
        while not self._ended.is_set():
            message = self._consumer.poll(0.1)
            if self._present and time.monotonic() - self._told > RENEW_S:
                self.lease()
            if message is None or message.error():
                continue
            if message.topic().endswith(".control"):
                self.commands.put(CONTROL.decode(message.value()))
                continue
            request = REQUEST.decode(message.value())
            self.seen.put((message, request))
            name = request["model"].partition("@")[0]
            if name == "echo":
                self.answer(message, request)
            elif name == "refuse":
                self.answer(message, request, request["parameters"]["code"])


def partitioner_of(key: str, partitions: int) -> int:
    """The Java client's murmur2 partitioner, written from Kafka's Utils.murmur2."""
    data, mask, multiplier = key.encode(), 0xFFFFFFFF, 0x5BD1E995
    value = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        value = value * multiplier & mask ^ word
    rest = data[whole:]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return ((value ^ value >> 15) & 0x7FFFFFFF) % partitions


@contextmanager
def responding(bootstrap: str, namespace: str) -> Iterator[Responder]:
    """A responder that runs, with its three models registered."""
    responder = Responder(bootstrap, namespace)
    responder.start()
    for name in ("echo", "refuse", "silent"):
        responder.register(name)
    try:
        yield responder
    finally:
        responder.stop()


if __name__ == "__main__":
    with responding(sys.argv[1], sys.argv[2]):
        sys.stdin.read()
