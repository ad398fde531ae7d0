"""Replies as Spring's ReplyingKafkaTemplate asks for them, on a real broker, in both deliveries."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.writing.publisher import Publisher, Refused, Written
from modelmora.messages import InferenceRequest, InferenceResult, Status
from modelmora.settings import Settings
from modelmora.wire import decode_result, encode_request
from tests.checker.reading import arrived
from tests.integration.test_publisher import Answers, settings
from tests.integration.test_transactions import Group, group
from tests.integration.test_transactions import publishing as in_transactions
from tests.nodes import SESSION_S, frozen
from tests.programs import eventually
from tests.stations import Station, running
from tests.topics import CAP_S, create_topic, until, values_of

__all__ = ["group", "settings"]

MODELS = json.dumps(
    [{"name": name, "task": name, "source": f"builtin:{name}"} for name in ("echo", "sleep")]
)


class Template:
    """What ReplyingKafkaTemplate does: one reply topic, 16 bytes to know each reply by."""

    def __init__(self, station: Station, partition: int | None = None) -> None:
        self.topic = f"{station.namespace}-app-{uuid.uuid4().hex[:8]}"
        self.partition = partition
        create_topic(station.servers, self.topic, partitions=3)
        servers = {"bootstrap.servers": station.servers, "log_level": 0}
        self._producer = Producer(servers)
        self._consumer = Consumer(servers | {"group.id": self.topic, "enable.auto.commit": False})
        read = range(3) if partition is None else [partition]
        self._consumer.assign([TopicPartition(self.topic, number, 0) for number in read])
        self._lane = f"{station.namespace}.requests.normal"
        self._futures: dict[bytes, bytes] = {}

    def send_and_receive(self, value: bytes, model: str = "echo") -> bytes:
        """The value of the reply."""
        correlation = uuid.uuid4().bytes
        headers: list[tuple[str, bytes]] = [
            ("kafka_replyTopic", self.topic.encode()),
            ("kafka_correlationId", correlation),
        ]
        if self.partition is not None:
            headers.append(("kafka_replyPartition", self.partition.to_bytes(4, "big")))
        self._producer.produce(self._lane, value, model, headers=headers)
        assert self._producer.flush(60) == 0

        def look() -> bool:
            for message in arrived(self._consumer, 0.2):
                headers = dict(message.headers() or ())
                self._futures[headers.get("kafka_correlationId") or b""] = message.value()
            return correlation in self._futures

        eventually(look, "the reply", CAP_S)
        return self._futures.pop(correlation)

    def ask(self, text: str, model: str = "echo") -> InferenceResult:
        request = InferenceRequest(str(uuid.uuid4()), model, (text,))
        return decode_result(self.send_and_receive(encode_request(request), model))

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture(
    scope="module",
    params=["at_least_once", pytest.param("exactly_once", marks=pytest.mark.faults)],
)
def station(
    broker: EmbeddedBroker,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Station]:
    settings = {"DELIVERY": request.param, "REPLY_TOPICS": '["*-app-*"]'}
    folder = tmp_path_factory.mktemp("replies")
    with running(broker.bootstrap_servers, folder, MODELS, settings) as made:
        yield made


@pytest.mark.parametrize("partition", [None, 2])
def test_a_template_has_its_replies(station: Station, partition: int | None) -> None:
    with closing(Template(station, partition)) as template:
        told = template.ask("Hello")
        assert (told.status, told.outputs) == (Status.COMPLETED, ("Hello",))
        assert station.seen.answers([told.request_id]) == [told]
        assert template.ask("Hello", "none").status is Status.REFUSED
        told_in_json = json.loads(template.send_and_receive(b'{"inputs": "Hello"}'))
        assert told_in_json["outputs"] == ["Hello"]


def test_replies_that_cannot_be_leave_the_outcome_and_the_partition(station: Station) -> None:
    with closing(Template(station)) as template:
        good = template.topic
        for number, topic in enumerate((f"{good}-none", "no", f"{good}-none", "/", good)):
            template.topic, template.partition = topic, 77
            headers = {"kafka_replyTopic": topic.encode(), "kafka_replyPartition": b"\0\0\0\x4d"}
            request = InferenceRequest(f"{good}{number}", "echo", ("x",))
            template._producer.produce(
                template._lane, encode_request(request), "echo", headers=list(headers.items())
            )
        assert template._producer.flush(60) == 0
        told = station.seen.answers([f"{good}{number}" for number in range(5)])
        assert {each.status for each in told} == {Status.COMPLETED}
        assert len(values_of(station.servers, good)) == 1, "a partition that it lacks: by its key"
        template.topic, template.partition = good, None
        assert template.ask("and on").outputs == ("and on",)
    metrics = station.node.text("/metrics")
    for why, count in (("refused", 2), ("not_allowed", 1), ("malformed", 1)):
        assert f'modelmora_replies_not_written_total{{why="{why}"}} {count}.0' in metrics


@pytest.mark.faults
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_killed_node_and_a_frozen_broker_leave_every_reply(
    mortal: EmbeddedBroker, tmp_path: Path, delivery: str
) -> None:
    settings = {"DELIVERY": delivery, "REPLY_TOPICS": '["*-app-*"]'}
    station = Station(mortal.bootstrap_servers, tmp_path, MODELS, settings)
    with closing(station), closing(Template(station)) as template:
        ids = [f"k{number}" for number in range(300)]
        for request_id in ids:
            headers = {"kafka_replyTopic": template.topic, "kafka_correlationId": request_id}
            request = InferenceRequest(request_id, "sleep", ("x",), parameters={"ms": 10.0})
            template._producer.produce(
                template._lane, encode_request(request), "sleep", headers=list(headers.items())
            )
        assert template._producer.flush(60) == 0
        station.seen.until(lambda: len(station.seen.results) >= 20, "some outcomes")
        station.node.kill()
        station.node.start().wait_ready()
        station.seen.until(lambda: len(station.seen.results) >= 100, "more outcomes")
        assert mortal.pid
        with frozen(mortal.pid):
            until = time.monotonic() + SESSION_S + 4
            eventually(lambda: time.monotonic() > until, "a long freeze", CAP_S)
        station.seen.answers(ids)
        values = values_of(station.servers, template.topic)
        assert {decode_result(value or b"").request_id for value in values} == set(ids)
        if delivery == "exactly_once":
            assert len(values) == len(ids)


async def test_an_optional_record_is_refused_where_any_other_waits(settings: Settings) -> None:
    servers, good = str(settings.bootstrap_servers), f"{settings.namespace}.results"
    create_topic(servers, good)
    answers, none = Answers(), f"{settings.namespace}.none"
    publisher = Publisher(settings, timeout_s=2)
    await publisher.start()
    try:
        for number in range(50):
            publisher.send(answers.record(none, b"o%d" % number, optional=True))
            publisher.send(answers.record(good, b"%d" % number))
        await asyncio.wait_for(publisher.flush(), CAP_S)
        assert publisher.parked == {}
        create_topic(servers, none)
        await until(lambda: _flows_again(publisher, answers, none))
    finally:
        await publisher.stop()
    assert [type(answers.of[b"o%d" % number][0]) for number in range(50)] == [Refused] * 50
    assert len(values_of(servers, good)) == 50


def _flows_again(publisher: Publisher, answers: Answers, topic: str) -> bool:
    """Send until one is written: metadata may lag behind."""
    value = b"again"
    if not publisher.backlog_of([topic]):
        publisher.send(answers.record(topic, value, optional=True))
    return any(isinstance(each, Written) for each in answers.of[value])


async def test_what_is_optional_stops_no_transaction(settings: Settings, group: Group) -> None:
    none = f"{settings.namespace}.none"
    answers, told = Answers(), Answers()
    async with in_transactions(settings, group) as publisher:
        for number in range(100):
            outcome = group.outcome(answers, number)
            if number % 2:
                outcome.after = told.record(none, b"%d" % number, optional=True)
            publisher.send(outcome)
        await asyncio.wait_for(publisher.flush(), CAP_S)
        assert publisher.parked == {}
        assert {type(each[0]) for each in told.of.values()} == {Refused}
        again = Answers()
        for number in range(1, 100, 2):
            publisher.send(group.outcome(again, number))
        await asyncio.wait_for(publisher.flush(), CAP_S)
    assert group.committed() == 100
    assert len(group.written()) == 100
