"""The client over Kafka on a real broker, with a thread in the place of the nodes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from modelmora.broker import EmbeddedBroker
from modelmora.client import CallError, DeadlineExceeded
from modelmora.client.kafka import AsyncKafkaClient, KafkaClient, aio, asking
from modelmora.errors import Code, Invalid, NotFound, Unreachable
from modelmora.kafka.admin import Admin
from modelmora.kafka.events import event_record
from modelmora.kafka.reading import reader
from modelmora.messages import (
    ErrorInfo,
    EventKind,
    InferenceRequest,
    InferenceResult,
    LifecycleEvent,
    RegistryKind,
    RegistryRecord,
    Source,
    Status,
)
from modelmora.messages.headers import PRINCIPAL, REPLY_PARTITION
from modelmora.records import key_of
from modelmora.settings import load_settings
from modelmora.wire import decode_request, encode_registry, encode_result, partition_of, place_of
from tests.programs import eventually
from tests.topics import produce, produce_unreadable

PARTITIONS = 3
CAP_S = 60.0


class Echoes:
    """Answers every request of a namespace with its inputs, as a node would; `refuse` says no."""

    def __init__(self, servers: str, namespace: str) -> None:
        self.servers, self.namespace = servers, namespace
        kafka = {"bootstrap.servers": servers, "log_level": 0}
        self._consumer = Consumer(kafka | {"group.id": namespace, "auto.offset.reset": "earliest"})
        self._producer = Producer(kafka | {"partitioner": "murmur2_random"})
        self.asked: list[tuple[InferenceRequest, dict[str, bytes], Any]] = []
        self.silent = False
        self._ending = threading.Event()
        self._consumer.subscribe([f"{namespace}.requests.{lane}" for lane in ("normal", "low")])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            for message in self._consumer.consume(500, 0.02):
                if message.error():
                    continue
                request = decode_request(message.value())
                headers = dict(message.headers() or ())
                self.asked.append((request, headers, message))
                if not self.silent:
                    self.answer(request, headers, message)
            self._producer.poll(0)
        self._producer.flush(10)
        self._consumer.close()

    def answer(self, request: InferenceRequest, headers: dict[str, bytes], message: Any) -> None:
        result = InferenceResult(
            request.request_id,
            Status.COMPLETED,
            request.model,
            "1",
            Source(message.topic(), message.partition(), message.offset()),
            outputs=request.inputs,
        )
        if request.model == "none":
            error = ErrorInfo(Code.UNKNOWN_MODEL, "there is no model none")
            result = replace(result, status=Status.REFUSED, error=error, outputs=())
        named, whose = headers.get(REPLY_PARTITION), headers.get(PRINCIPAL)
        self._producer.produce(
            f"{self.namespace}.results",
            encode_result(result),
            request.request_id,
            partition=-1 if named is None else int(named),
            headers=[] if whose is None else [(PRINCIPAL, whose)],
        )

    def close(self) -> None:
        self._ending.set()
        self._thread.join()


def made_topics(servers: str, namespace: str) -> str:
    topics = {"partitions": PARTITIONS}
    settings = load_settings(bootstrap_servers=servers, namespace=namespace, topics=topics)
    Admin(settings).create()
    return servers


@pytest.fixture
def topics(broker: EmbeddedBroker, namespace: str) -> str:
    return made_topics(broker.bootstrap_servers, namespace)


@pytest.fixture
def nodes(topics: str, namespace: str) -> Iterator[Echoes]:
    made = Echoes(topics, namespace)
    yield made
    made.close()


def test_a_plain_program_asks_and_is_answered(nodes: Echoes) -> None:
    with KafkaClient(nodes.servers, nodes.namespace) as client:
        replies = [client.ask("m@1", [str(n), b"\xff"], principal="me") for n in range(20)]
        for number, reply in enumerate(replies):
            outcome = reply.result(CAP_S)
            assert (outcome.request_id, outcome.outputs) == (
                reply.request_id,
                (str(number), b"\xff"),
            )
        assert client.infer("m", ["x"], request_id="mine", priority="low").request_id == "mine"
        with pytest.raises(CallError) as caught:
            client.infer("none", ["x"])
        assert (caught.value.code, caught.value.again) == ("unknown_model", False)
    own = {request.request_id: headers for request, headers, _ in nodes.asked}
    by_id = {request.request_id: message for request, _, message in nodes.asked}
    first = replies[0].request_id
    assert own[first][PRINCIPAL] == b"me"
    assert int(own[first][REPLY_PARTITION]) == partition_of(first.encode(), PARTITIONS)
    assert int(own["mine"][REPLY_PARTITION]) == partition_of(b"mine", PARTITIONS)
    assert by_id["mine"].topic().endswith(".low")
    assert by_id[first].key() == b"m"
    assert by_id[first].partition() == partition_of(b"m", PARTITIONS)


def test_a_model_that_is_spread_lies_on_several_partitions(nodes: Echoes) -> None:
    hot = RegistryRecord(
        RegistryKind.MODEL, "hot", "1", "echo", "builtin:echo", "w", spreads={"0": PARTITIONS}
    )
    producer = Producer({"bootstrap.servers": nodes.servers, "log_level": 0})
    producer.produce(f"{nodes.namespace}.registry", encode_registry(hot), key_of(hot))
    assert producer.flush(CAP_S) == 0
    with KafkaClient(nodes.servers, nodes.namespace) as client:
        for model in ("hot", "cold"):
            for reply in [client.ask(model, ["x"]) for _ in range(30)]:
                assert reply.result(CAP_S).outputs == ("x",)
    lay = {request.request_id: message.partition() for request, _, message in nodes.asked}
    of_hot = {each.request_id for each, _, _ in nodes.asked if each.model == "hot"}
    for each in of_hot:
        assert lay[each] == place_of("hot", each, PARTITIONS, PARTITIONS)
    assert {lay[each] for each in of_hot} == set(range(PARTITIONS))
    assert {lay[each] for each in lay.keys() - of_hot} == {partition_of(b"cold", PARTITIONS)}


async def test_what_cannot_be_asked(nodes: Echoes) -> None:
    async with AsyncKafkaClient(nodes.servers, nodes.namespace) as client:
        for wrong in ("text", [1]):
            with pytest.raises(Invalid, match="inputs"):
                await client.ask("m", wrong)  # type: ignore[arg-type]
        with pytest.raises(Invalid, match="priority"):
            await client.ask("m", ["x"], priority="urgent")
        with pytest.raises(CallError) as large:
            await client.ask("m", ["x" * 1_000_001])
        with pytest.raises(CallError) as broken:
            await client.ask("m", ["x"], parameters={"n": 1 << 80})
        assert (large.value.code, broken.value.code) == ("too_large", "invalid_input")
        nodes.silent = True
        reply = await client.ask("m", ["x"], request_id="twice", timeout_s=60)
        with pytest.raises(CallError, match="awaited already"):
            await client.ask("m", ["x"], request_id="twice")
        with pytest.raises(DeadlineExceeded, match="no outcome within"):
            await reply.result(0.05)
    with pytest.raises(CallError, match="closed before"):
        await reply.result()
    assert not client._waiting._open
    for late in (client.submit("m", ["x"]), client.ask("m", ["x"])):
        with pytest.raises(CallError, match="the client is closed"):
            await late


def test_a_process_that_was_forked_is_told(nodes: Echoes) -> None:
    with KafkaClient(nodes.servers, nodes.namespace) as client:
        if (child := os.fork()) == 0:
            # What others have left uncollected may be librdkafka's, whose threads are not here.
            gc.disable()
            signal.alarm(20)
            try:
                client.infer("m", ["x"], timeout_s=5)
            except CallError as error:
                os._exit(0 if error.code == "forked" else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.infer("m", ["x"]).outputs == ("x",)


async def test_room_that_does_not_come_is_not_waited_for_beyond_the_time(
    nodes: Echoes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "GRACE_S", 0.05)
    monkeypatch.setattr(aio, "WRITE_S", 0.05)
    monkeypatch.setattr(aio, "UNSENT_BYTES", -1)
    async with asyncio.timeout(CAP_S), AsyncKafkaClient(nodes.servers, nodes.namespace) as client:
        reply = await client.ask("m", ["x"], timeout_s=0.05)
        with pytest.raises(DeadlineExceeded, match="did not acknowledge"):
            await reply.result()
        with pytest.raises(CallError, match="does not acknowledge"):
            await client.submit("m", ["x"])
    assert nodes.asked == []


async def test_time_that_is_over_says_why(nodes: Echoes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "GRACE_S", 0.1)
    nodes.silent = True
    async with AsyncKafkaClient(nodes.servers, nodes.namespace, most_awaited=1) as client:
        reply = await client.ask("m", ["x"], timeout_s=5)
        await reply.written  # else it is the broker that is silent
        with pytest.raises(DeadlineExceeded, match="no node answered"):
            await reply.result()
        waits = await asyncio.wait_for(client.ask("m", ["x"], timeout_s=CAP_S), CAP_S)
        with pytest.raises(CallError, match="1 replies are awaited"):
            await client.ask("m", ["x"], timeout_s=0.05)
        assert waits.done is False


async def test_three_thousand_replies_are_held_within_bounds(
    nodes: Echoes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "HELD_BYTES", 20_000)
    async with AsyncKafkaClient(nodes.servers, nodes.namespace) as client:
        replies = [await client.ask("m", [f"{n}"], timeout_s=120) for n in range(3_000)]
        async with asyncio.timeout(CAP_S):
            while not all(reply.done for reply in replies):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert 15_000 < client._waiting.held <= 20_000
        for number in (0, 2_999, 1_500):
            assert (await replies[number].result()).outputs == (str(number),)
        assert len(client._waiting) == 0
        replies.clear()
        async with asyncio.timeout(CAP_S):
            while client._waiting.held:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_others_and_broken_outcomes_are_passed_over(nodes: Echoes) -> None:
    results = f"{nodes.namespace}.results"
    async with AsyncKafkaClient(nodes.servers, nodes.namespace) as client:
        nodes.silent = True
        reply = await client.ask("m", ["x"])
        kafka = Producer({"bootstrap.servers": nodes.servers})
        at = partition_of(reply.request_id.encode(), PARTITIONS)
        source = Source("t", 0, 0)
        other = InferenceResult("other", Status.COMPLETED, "m", "1", source)
        for value in (
            b"",
            b"\xc3\x01rubbish",
            b"\x00\x00\x00\x00\x01x",
            encode_result(other),
            None,
        ):
            kafka.produce(results, value, reply.request_id, at)
        kafka.flush(30)
        await produce_unreadable(nodes.servers, results, at)
        mine = InferenceResult(reply.request_id, Status.COMPLETED, "m", "1", source)
        kafka.produce(results, encode_result(mine), reply.request_id, at)
        kafka.flush(30)
        assert (await reply.result(CAP_S)) == mine


def test_partitions_that_are_added_are_followed(
    nodes: Echoes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LOOK_S", 0.2)
    with KafkaClient(nodes.servers, nodes.namespace) as client, client.results() as results:
        assert client.infer("m", ["before"]).status is Status.COMPLETED
        assert next(results).outputs == ("before",)
        nodes.silent = True
        waiting = client.ask("m", ["meanwhile"], timeout_s=100)
        (asked,) = eventually(lambda: nodes.asked[1:], "the request")
        admin = AdminClient({"bootstrap.servers": nodes.servers, "log_level": 0})
        for topic in ("results", "requests.normal"):
            wider = NewPartitions(f"{nodes.namespace}.{topic}", 8)
            admin.create_partitions([wider])[wider.topic].result(30)
        eventually(lambda: client._client._partitions() == 8, "eight partitions")
        nodes.silent = False
        nodes.answer(*asked)
        replies = [client.ask("m", [f"{n}"], timeout_s=100) for n in range(20)]
        assert waiting.result(CAP_S).outputs == ("meanwhile",)
        assert [reply.result(CAP_S).outputs for reply in replies] == [(f"{n}",) for n in range(20)]
        outcome = replace(waiting.result(), request_id="on the last")
        produce(nodes.servers, f"{nodes.namespace}.results", encode_result(outcome), partition=7)
        assert "on the last" in {next(results).request_id for _ in range(22)}


async def test_events_as_they_come_for_two_of_one_group(topics: str, namespace: str) -> None:
    producer = Producer({"bootstrap.servers": topics})

    def tell(*nodes: str) -> None:
        for node in nodes:
            event = LifecycleEvent(f"id-{node}", EventKind.NODE_JOINED, node, 1)
            record = event_record(event, namespace, "nodes", lambda _: None)
            producer.produce(record.topic, record.value, record.key, headers=[*record.headers])
        producer.flush(30)

    await produce_unreadable(topics, f"{namespace}.events")
    produce(topics, f"{namespace}.events", b"rubbish")
    tell("a", "b")
    client = AsyncKafkaClient(topics, namespace)
    async with (
        await client.events() as now,
        await client.events(start="earliest", follow=False) as whole,
    ):
        assert {event.node async for event in whole} == {"a", "b"}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(now), 0.2)
        tell("c")
        assert (await asyncio.wait_for(anext(now), CAP_S)).node == "c"
    since = time.time_ns() // 1_000_000
    async with await client.events(start=since) as later:
        tell("d")
        assert (await asyncio.wait_for(anext(later), CAP_S)).node == "d"
    heard = []
    async with await client.events(start="earliest", group=f"{namespace}-app") as member:
        async for event in member:
            heard.append(event.node)
            if len(heard) == 4:
                break
    tell("e")
    async with await client.events(group=f"{namespace}-app") as member:
        # The last one was not done with.
        again = [(await asyncio.wait_for(anext(member), CAP_S)).node for _ in range(2)]
    late = f"{namespace}-late"
    for node in (["f"], []):
        async with await client.events(group=late) as member:
            tell(*node)
            # Nor was this, of whose partition nothing had been done before.
            assert (await asyncio.wait_for(anext(member), CAP_S)).node == "f"
    all_of_it = f"{namespace}-all"
    async with await client.events(start="earliest", group=all_of_it) as member:
        await asyncio.wait_for(anext(member), CAP_S)
    async with await client.events(group=all_of_it) as member:
        # Where the first has begun is remembered: nothing it has left is missed.
        missed = {(await asyncio.wait_for(anext(member), CAP_S)).node for _ in range(6)}
    assert missed == {"a", "b", "c", "d", "e", "f"}
    assert sorted(heard) == ["a", "b", "c", "d"]
    assert sorted(again) == sorted([heard[-1], "e"])


@pytest.mark.faults
async def test_a_broker_that_is_gone_for_a_while(mortal: EmbeddedBroker, namespace: str) -> None:
    made_topics(mortal.bootstrap_servers, namespace)
    nodes = Echoes(mortal.bootstrap_servers, namespace)
    try:
        async with AsyncKafkaClient(mortal.bootstrap_servers, namespace) as client:
            nodes.silent = True
            before = await client.ask("m", ["before"], timeout_s=CAP_S)
            (asked,) = await asyncio.to_thread(eventually, lambda: [*nodes.asked], "the request")
            await asyncio.to_thread(mortal.stop)
            meanwhile = await client.ask("m", ["meanwhile"], timeout_s=CAP_S)
            hasty = await client.ask("m", ["hasty"], timeout_s=0.01)
            with pytest.raises(DeadlineExceeded, match="the broker does not answer"):
                await hasty.result()
            await asyncio.to_thread(mortal.start)
            nodes.silent = False
            nodes.answer(*asked)
            for reply in (before, meanwhile):
                assert (await reply.result(CAP_S)).status is Status.COMPLETED
            assert "hasty" not in {request.inputs[0] for request, _, _ in nodes.asked}
    finally:
        nodes.close()


def test_a_program_says_what_is_missing_and_nothing_else(
    broker: EmbeddedBroker, namespace: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotFound, match="topics create"):
        KafkaClient(broker.bootstrap_servers, namespace)
    with pytest.raises(Unreachable, match="no broker answers at"):
        KafkaClient("127.0.0.1:1", namespace)
    assert capfd.readouterr() == ("", "")
