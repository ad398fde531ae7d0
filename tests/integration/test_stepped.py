"""A stepped model on a real broker: requests join and leave, chunks continue, none is lost."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from modelmora.broker import EmbeddedBroker
from modelmora.cli import main
from modelmora.messages import (
    Content,
    ControlCommand,
    ControlVerb,
    InferenceRequest,
    InferenceResult,
    Parameter,
    ProgressEvent,
    ProgressStage,
    Status,
)
from modelmora.wire import decode_progress, encode_control, encode_request, new_request_id
from tests.nodes import PARTITIONS, GatewayProcess, NodeProcess, Observer

COUNT = json.dumps([{"name": "count", "task": "count", "source": "builtin:count"}])


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
    """A node with a stepped model, and who sends to it and reads from it."""

    def __init__(
        self,
        servers: str,
        folder: Path,
        models: str = COUNT,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.servers = servers
        self.namespace = f"t{uuid.uuid4().hex[:12]}"
        own = {"MODELS": models, **(settings or {})}
        self.node = NodeProcess(servers, self.namespace, folder, settings=own)
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


@pytest.fixture(scope="module")
def station(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    made = Station(broker.bootstrap_servers, tmp_path_factory.mktemp("stepped"))
    try:
        yield made
        made.close()
    finally:
        if made.node.running:
            made.node.kill()


def test_requests_join_and_leave_and_their_chunks_are_the_result(station: Station) -> None:
    ids = [*station.send(8, words=60, ms=5), *station.send(8, words=20, ms=5)]
    answers = station.answers(ids)
    assert {answer.status for answer in answers} == {Status.COMPLETED}
    assert answers[0].outputs == (" ".join(map(str, range(60))) + " ",)
    assert answers[0].settings["words"] == 60, "what was used in fact"
    assert {len(station.reader.attempts[each]) > 1 for each in ids} == {True}
    quiet = station.send(progress=False)
    assert station.seen.answers(quiet)[0].status is Status.COMPLETED
    assert quiet[0] not in station.reader.texts


def test_a_cancel_midway_frees_the_slot(station: Station) -> None:
    endless = station.send(16, words=100_000, ms=5)
    station.shown(endless)
    waiting = station.send(words=3)
    for each in endless:
        station.cancel(each)
    assert station.answers(waiting)[0].status is Status.COMPLETED
    ends = station.seen.answers(endless)
    assert {answer.error.code.value for answer in ends if answer.error} == {"cancelled"}
    assert len(ends) == 16
    assert station.node.models()["count"]["state"] == "ready", "its child lives on"


def test_after_a_kill_the_text_continues_where_it_is_the_same(station: Station) -> None:
    ordered = station.send(3, words=150, ms=5)
    seeded = station.send(3, words=150, ms=5, seed=7)
    unseeded = station.send(3, words=150, ms=5, seed=-1)
    everyone = [*ordered, *seeded, *unseeded]
    station.shown(everyone)
    os.kill(station.child(), signal.SIGKILL)
    answers = station.answers(everyone)
    assert {(answer.status, answer.attempt) for answer in answers} == {(Status.COMPLETED, 2)}
    for each in everyone:
        numbers = station.reader.attempts[each]
        begins = [number for number in numbers if number[1] == 0]
        assert begins == ([(1, 0), (2, 0)] if each in unseeded else [(1, 0)])
        assert numbers[-1][0] == 2


def test_who_brings_the_child_down_is_found_among_the_others(station: Station) -> None:
    innocent = station.send(7, words=40, ms=2)
    guilty = station.send(words=10, marker="text", fault="crash")
    answers = station.answers([*innocent, *guilty])
    assert {answer.status for answer in answers[:-1]} == {Status.COMPLETED}
    assert answers[-1].error is not None
    assert answers[-1].error.code.value == "worker_crash"


def test_the_command_prints_as_it_comes(
    station: Station, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    servers = station.servers
    with GatewayProcess(servers, station.namespace, tmp_path) as gateway:
        command = ["infer", "count", "text", "--stream", "--param", "words=30", "--grpc"]
        code = main([*command, gateway.grpc])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert out == " ".join(map(str, range(30))) + " \n"
    assert "anew" not in err
