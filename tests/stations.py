"""A node with some models, and who sends to it and reads from it, its progress too."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from modelmora.messages import (
    Content,
    ControlCommand,
    ControlVerb,
    InferenceRequest,
    InferenceResult,
    Parameter,
    ProgressEvent,
    ProgressStage,
)
from modelmora.wire import decode_progress, encode_control, encode_request, new_request_id
from tests.nodes import PARTITIONS, NodeProcess, Observer


class Reader:
    """Shows what chunks say: number 0 begins anew, the next number continues."""

    def __init__(self, servers: str, namespace: str) -> None:
        self.texts: dict[str, str] = {}
        self.attempts: dict[str, list[tuple[int, int]]] = {}
        self.accepted: set[str] = set()
        self._topic = f"{namespace}.progress"
        settings = {"bootstrap.servers": servers, "group.id": "reader", "log_level": 0}
        self._consumer = Consumer(settings | {"enable.auto.commit": False})
        partitions = self._consumer.list_topics(self._topic, timeout=30).topics[self._topic]
        self._consumer.assign([TopicPartition(self._topic, p, 0) for p in partitions.partitions])

    def read(self) -> None:
        """Take in what lies there."""
        for message in self._consumer.consume(1000, 0.2):
            if message.error() is None:
                self._take(decode_progress(message.value()))

    def _take(self, event: ProgressEvent) -> None:
        if event.stage is ProgressStage.ACCEPTED:
            self.accepted.add(event.request_id)
        if event.stage is not ProgressStage.CHUNK:
            return
        name = event.request_id
        numbers = self.attempts.setdefault(name, [])
        text = (event.chunk or b"").decode()
        if event.sequence == 0:
            self.texts[name] = text
        else:
            assert numbers[-1][1] + 1 == event.sequence, "a gap"
            self.texts[name] += text
        numbers.append((event.attempt, event.sequence))

    def close(self) -> None:
        self._consumer.close()


class Station:
    """The node, the sender and the readers."""

    def __init__(
        self,
        servers: str,
        folder: Path,
        models: str,
        settings: Mapping[str, object] | None = None,
        kind: type[NodeProcess] = NodeProcess,
    ) -> None:
        self.servers = servers
        self.namespace = f"t{uuid.uuid4().hex[:12]}"
        own = {"MODELS": models, **(settings or {})}
        self.node = kind(servers, self.namespace, folder, settings=own)
        self.node.start().wait_ready()
        self.seen = Observer(servers, self.namespace)
        self.reader = Reader(servers, self.namespace)
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 0})

    def send(
        self,
        number: int = 1,
        *,
        model: str = "count",
        progress: bool = True,
        inputs: tuple[Content, ...] = ("text",),
        **parameters: Parameter,
    ) -> list[str]:
        """As many requests; their ids."""
        ids = [new_request_id(PARTITIONS) for _ in range(number)]
        for each in ids:
            request = InferenceRequest(
                each, model, inputs, parameters=parameters, progress=progress
            )
            topic = f"{self.namespace}.requests.normal"
            self._producer.produce(topic, encode_request(request), model)
        assert self._producer.flush(60) == 0
        return ids

    def send_one(self, request: InferenceRequest, *headers: tuple[str, bytes]) -> str:
        """One request as it is told; its id."""
        topic = f"{self.namespace}.requests.normal"
        value = encode_request(request)
        self._producer.produce(topic, value, request.model, headers=[*headers])
        assert self._producer.flush(60) == 0
        return request.request_id

    def cancel(self, request_id: str) -> None:
        value = encode_control(ControlCommand(ControlVerb.CANCEL, request_id))
        self._producer.produce(f"{self.namespace}.control", value, request_id)
        assert self._producer.flush(60) == 0

    def answers(self, ids: Sequence[str]) -> list[InferenceResult]:
        """Their outcomes, and every chunk that was told before them."""
        answers = self.seen.answers(ids)
        texts = [answer.outputs[0] for answer in answers if answer.outputs]
        told = [each for each, answer in zip(ids, answers, strict=True) if answer.outputs]
        self.shown(told, lambda: [self.reader.texts.get(each) for each in told] == texts)
        return answers

    def shown(self, ids: Sequence[str], seen: object = None) -> None:
        """Until something is shown of each, or what was asked for."""

        def look() -> bool:
            self.reader.read()
            return bool(seen() if callable(seen) else self.reader.texts.keys() >= set(ids))

        self.seen.until(look, "chunks")

    def child(self, model: str = "count") -> int:
        """The process id of the model's child, of whichever version has one."""
        rows = self.node.get("/health/models") or ()
        return next(int(row["pid"]) for row in rows if row["name"] == model and row["pid"])

    def close(self) -> None:
        self.seen.close()
        self.reader.close()
        if self.node.running:
            assert self.node.stop() == 0, self.node.tail()


@contextmanager
def running(
    servers: str,
    folder: Path,
    models: str,
    settings: Mapping[str, object] | None = None,
    kind: type[NodeProcess] = NodeProcess,
) -> Iterator[Station]:
    """One that ends well, or is killed where something went wrong."""
    made = Station(servers, folder, models, settings, kind)
    try:
        yield made
        made.close()
    finally:
        if made.node.running:
            made.node.kill()
