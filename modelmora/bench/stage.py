"""One instance of ModelMora to measure, and a client of its topics that speaks for itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from modelmora.broker.tether import tethered
from modelmora.errors import ModelMoraError
from modelmora.host.runfile import read_run
from modelmora.messages import ControlCommand, ControlVerb, InferenceRequest, LifecycleEvent
from modelmora.surroundings import interpreter
from modelmora.wire import decode_event, encode_control, encode_request, new_request_id

PATIENCE_S = 180.0
PARTITIONS = 12


@dataclass(slots=True)
class Stage:
    """A running instance: addresses, processes, and its topics."""

    run: Any
    folder: Path
    scale: float = 1.0
    _producer: Producer | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Its broker."""
        return str(self.run.bootstrap_servers)

    def scaled(self, count: int, least: int = 1) -> int:
        """As many as that in a full run; fewer in a quick one, which shows that all works."""
        return max(least, int(count * self.scale))

    def pid(self, name: str) -> int:
        """The process of a part: node, gateway, zygote, broker."""
        pid = self.run.processes[name]
        if pid is None:
            raise ModelMoraError(f"the instance has no {name}")
        return int(pid)

    def producer(self) -> Producer:
        """A librdkafka producer with Java's partitioner, connected once."""
        if self._producer is None:
            self._producer = Producer(
                {
                    "bootstrap.servers": self.bootstrap_servers,
                    "linger.ms": 1,
                    "partitioner": "murmur2_random",
                    "queue.buffering.max.messages": 1_000_000,
                    "log_level": 0,
                }
            )
        return self._producer

    def topic(self, name: str) -> str:
        """A fresh topic beside the instance's own."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        config = {"message.timestamp.type": "LogAppendTime"}
        for future in admin.create_topics([NewTopic(name, PARTITIONS, 1, config=config)]).values():
            future.result(20)
        return name

    def tail(self, topic: str, partitions: int = PARTITIONS) -> Tail:
        """Reads what is written to a topic from now on."""
        return Tail(self.bootstrap_servers, topic, partitions)

    def send(self, requests: Sequence[InferenceRequest], lane: str = "normal") -> float:
        """Produce all and wait for the broker; the wall-clock time before the first (Unix s)."""
        producer = self.producer()
        values = [(request.model.encode(), encode_request(request)) for request in requests]
        began = time.time()
        for key, value in values:
            producer.produce(f"modelmora.requests.{lane}", value, key)
            producer.poll(0)
        producer.flush(60)
        return began

    def send_one(self, request: InferenceRequest, lane: str = "normal") -> None:
        """Produce one, and wait for nothing."""
        topic = f"modelmora.requests.{lane}"
        self.producer().produce(topic, encode_request(request), request.model.encode())
        self.producer().poll(0)

    def command(self, verb: ControlVerb, target: str) -> None:
        """Write a control command."""
        producer = self.producer()
        value = encode_control(ControlCommand(verb, target))
        producer.produce("modelmora.control", value, target.encode(), 0)
        producer.flush(30)

    @contextlib.contextmanager
    def frozen(self, pid: int) -> Iterator[Callable[[], float]]:
        """Stop a process, so that work can be laid before it; the yielded call lets it go on."""
        os.kill(pid, signal.SIGSTOP)
        stopped = True

        def go() -> float:
            nonlocal stopped
            began = time.time()
            os.kill(pid, signal.SIGCONT)
            stopped = False
            return began

        try:
            yield go
        finally:
            if stopped:
                os.kill(pid, signal.SIGCONT)


class Tail:
    """Reads all partitions of a topic from the moment it was made."""

    def __init__(self, servers: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "bench-reader",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        assigned = [TopicPartition(topic, number, OFFSET_END) for number in range(partitions)]
        self._consumer.assign(
            [
                TopicPartition(tp.topic, tp.partition, self._consumer.get_watermark_offsets(tp)[1])
                for tp in assigned
            ]
        )

    def take(self, count: int, wanted: Callable[[Message], bool] = lambda _: True) -> list[Message]:
        """The next `count` records that are wanted. Raises ModelMoraError when they do not come."""
        found: list[Message] = []
        end = time.monotonic() + PATIENCE_S
        while len(found) < count:
            if time.monotonic() > end:
                raise ModelMoraError(f"{len(found)} of {count} answers after {PATIENCE_S:.0f} s")
            # Asked for many alone it would wait for as many, also with what is wanted in hand.
            for message in (*self._consumer.consume(1, 0.2), *self._consumer.consume(1000, 0)):
                if not message.error() and wanted(message):
                    found.append(message)
        return found

    def rest(self) -> list[Message]:
        """All that has come by now, and has not been taken."""
        found: list[Message] = []
        while messages := self._consumer.consume(1000, 1.0):
            found += [message for message in messages if not message.error()]
        return found

    def event(self, kind: str, model: str) -> LifecycleEvent:
        """Wait for a lifecycle event of a model."""
        message = self.take(
            1,
            lambda m: (e := decode_event(m.value())).kind.value == kind and e.model == model,
        )[0]
        return decode_event(message.value())

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()


def appended_s(message: Message) -> float:
    """When the broker appended the record, Unix seconds."""
    return float(message.timestamp()[1]) / 1000


def requests_of(model: str, texts: Sequence[str], **parameters: Any) -> list[InferenceRequest]:
    """One request per text."""
    return [
        InferenceRequest(new_request_id(), model, (text,), parameters=parameters) for text in texts
    ]


def fixed(name: str, options: Mapping[str, float], **more: object) -> dict[str, object]:
    """A model as settings tell it that takes `options["ms"]` a request, whatever it is asked."""
    engine = {"source": "builtin:sleep", "engine": "modelmora.testing.engines:Fixed"}
    told = {"name": name, "task": "sleep", "options": dict(options), "warm_up": False}
    return told | engine | more


@contextlib.contextmanager
def serving(
    folder: Path, scale: float = 1.0, variables: Mapping[str, str] | None = None
) -> Iterator[Stage]:
    """Start broker, node and gateway with the test models; stop them at the end."""
    command = [*interpreter("modelmora.cli"), "serve", "--testing", "--data-dir"]
    ports = ["--http-port", "0", "--grpc-port", "0", "--node-http-port", "0"]
    log = (folder / "serve.log").open("wb")
    process = subprocess.Popen(
        tethered([*command, str(folder), *ports]),
        stdout=log,
        stderr=log,
        env={**os.environ, "MODELMORA_LOG__LEVEL": "warning", **(variables or {})},
    )
    try:
        yield Stage(_ready(process, folder), folder, scale)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _ready(process: subprocess.Popen[bytes], folder: Path) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        if run := read_run(folder):
            return run
        time.sleep(0.05)
    last = (folder / "serve.log").read_text("utf-8", "replace").strip().splitlines()[-1:]
    raise ModelMoraError(f"the instance did not start: {''.join(last)}")
