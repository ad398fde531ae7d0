"""Requests in Confluent's wire format: at once under a known id, else when it was asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from modelmora.agents.partitions.intake import Intake
from modelmora.agents.requests import Requests
from modelmora.errors import Code, RequestError, Undecodable
from modelmora.kafka.batches import Batch
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import lane_topics
from modelmora.messages import InferenceRequest, Lane
from modelmora.scheduling import Policy
from modelmora.serving import BrokerClock, Incoming, Record, Service
from modelmora.settings import Limits, Settings
from modelmora.testing.fakes import FakeOutcomes, FakeReader, FakeRecord, FakeTime
from modelmora.wire import encode_request
from modelmora.wire.schemas import read_schema

TOPIC = "ns.requests.normal"
LIMIT = 500
SILENT = Undecodable(Code.UNKNOWN_SCHEMA, "the registry is silent")


def single(offset: int, text: str = "a") -> bytes:
    return encode_request(InferenceRequest(f"r{offset}", "echo", (text,)))


def framed(schema_id: int, value: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + value[10:]


def record(offset: int, value: bytes) -> FakeRecord:
    return FakeRecord(TOPIC, 0, offset, value=value)


class Registry(Schemas):
    """Answers when the test says so."""

    def __init__(self, settings: Settings, client: Any) -> None:
        super().__init__(settings, client)
        self.asked: asyncio.Queue[asyncio.Future[Undecodable | None]] = asyncio.Queue()

    async def learn(self, value: bytes) -> Undecodable | None:
        answer = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(answer)
        error: Undecodable | None = await answer
        if error is None:
            self.ask(value)
        return error


class Hall(Service):
    """Notes what it is given."""

    def __init__(self, clock: BrokerClock) -> None:
        super().__init__(FakeOutcomes(), clock, Policy(), 1000)
        self.accepted: list[Incoming] = []
        self.moved = asyncio.Event()

    def accept(self, request: Incoming) -> None:
        self.accepted.append(request)
        self.moved.set()


@dataclass
class Desk:
    """Requests with a registry that has our schemas."""

    buried: list[tuple[Record, RequestError]] = field(default_factory=list)

    def __post_init__(self) -> None:
        limits = Limits(request_bytes=LIMIT)
        self.client = SchemaRegistryClient.new_client({"url": "mock://r"})
        settings = Settings(namespace="ns", limits=limits)
        self.registry = Registry(settings, self.client)
        self.registry.register()
        self.intake = Intake(limits, lane_topics(settings))
        for lane in Lane:
            self.intake.assign((f"ns.requests.{lane.label}", 0), 0, 0)
        clock = BrokerClock(FakeTime())
        self.service = Hall(clock)
        self.requests = Requests(settings, self.intake, self.service, self, clock, self.registry)
        self.requests.reader = self.reader = FakeReader()
        self.known = int(self.client.get_latest_version(f"{TOPIC}-value").schema_id)

    def undecodable(self, record: Record, error: RequestError, principal: str) -> None:
        self.buried.append((record, error))
        self.service.moved.set()

    async def read(self, *records: FakeRecord) -> None:
        partition = (records[0].topic, records[0].partition)
        await self.requests.on_batch(Batch(partition, 0, 0, records))

    async def settled(self, count: int) -> None:
        """Wait until so many records are admitted or buried."""
        async with asyncio.timeout(30):
            while len(self.service.accepted) + len(self.buried) < count:
                self.service.moved.clear()
                await self.service.moved.wait()

    def admitted(self) -> list[str]:
        return [request.head.request_id for request in self.service.accepted]

    def another_id(self, text: str) -> int:
        """The id of a schema that this node has not met."""
        return int(self.client.register_schema("another", Schema(text, "AVRO")))


@pytest.fixture
async def desk() -> Desk:
    return Desk()


def same_schema() -> str:
    """Our schema, written differently."""
    return json.dumps(read_schema("inference_request"), indent=1)


async def test_a_known_id_comes_in_at_once(desk: Desk) -> None:
    value = framed(desk.known, single(0))
    await desk.read(record(0, value))
    (request,) = desk.service.accepted
    assert request.head.request_id == "r0"
    assert request.value == single(0)
    assert request.record.value == value
    assert desk.registry.asked.empty()


async def test_both_formats_side_by_side(desk: Desk) -> None:
    await desk.read(record(0, single(0)), record(1, framed(desk.known, single(1))))
    assert desk.admitted() == ["r0", "r1"]
    assert [request.value is None for request in desk.service.accepted] == [True, False]


async def test_an_unknown_id_waits_and_the_others_go_on(desk: Desk) -> None:
    number = desk.another_id(same_schema())
    await desk.read(
        record(0, framed(number, single(0))),
        record(1, single(1)),
        record(2, framed(number, single(2))),
    )
    assert desk.admitted() == ["r1"]
    assert desk.intake.open_requests == 3
    answer = await desk.registry.asked.get()
    answer.set_result(None)
    await desk.settled(3)
    assert desk.admitted() == ["r1", "r0", "r2"]
    await desk.read(record(3, framed(number, single(3))))
    assert desk.admitted()[3:] == ["r3"]
    assert desk.registry.asked.empty()
    assert desk.buried == []


@pytest.mark.parametrize("text", ['"string"', None])
async def test_an_id_that_is_none_of_ours(desk: Desk, text: str | None) -> None:
    number = desk.another_id(text) if text else 4000
    value = framed(number, single(0))
    await desk.read(record(0, value))
    (await desk.registry.asked.get()).set_result(None)
    await desk.settled(1)
    ((buried, error),) = desk.buried
    assert (buried.value, error.code, error.request_id) == (value, Code.UNKNOWN_SCHEMA, "")


async def test_a_registry_that_is_silent_and_then_not(desk: Desk) -> None:
    number = desk.another_id(same_schema())
    await desk.read(record(0, framed(number, single(0))))
    (await desk.registry.asked.get()).set_result(SILENT)
    await desk.settled(1)
    assert [error for _, error in desk.buried] == [SILENT]
    await desk.read(record(1, framed(number, single(1))))
    (await desk.registry.asked.get()).set_result(None)
    await desk.settled(2)
    assert desk.admitted() == ["r1"]


async def test_a_fault_of_ours_has_an_outcome_too(desk: Desk) -> None:
    await desk.read(record(0, framed(4000, single(0))))
    (await desk.registry.asked.get()).set_exception(RuntimeError("a bug"))
    await desk.settled(1)
    assert desk.buried[0][1].code is Code.INFERENCE_FAILED


async def test_what_is_taken_away_meanwhile_is_read_by_its_next_owner(desk: Desk) -> None:
    number = desk.another_id(same_schema())
    other = FakeRecord("ns.requests.low", 0, 0, value=framed(number, single(7)))
    await desk.read(record(0, framed(number, single(0))))
    await desk.read(other)
    dropped = desk.requests.drop({(TOPIC, 0)})
    assert [each.offset for each in dropped] == [0]
    assert desk.requests.drop({(TOPIC, 0)}) == []
    (await desk.registry.asked.get()).set_result(None)
    await desk.settled(1)
    assert desk.admitted() == ["r7"]


async def test_all_taken_away_and_asked_for_again(desk: Desk) -> None:
    number = desk.another_id(same_schema())
    await desk.read(record(0, framed(number, single(0))))
    first = await desk.registry.asked.get()
    assert len(desk.requests.drop({(TOPIC, 0)})) == 1
    await desk.read(record(1, framed(number, single(1))))
    first.set_result(None)
    await desk.settled(1)
    assert desk.admitted() == ["r1"]


async def test_many_wait_for_one_answer(desk: Desk) -> None:
    number = desk.another_id(same_schema())
    await desk.read(*(record(n, framed(number, single(n))) for n in range(600)))
    (await desk.registry.asked.get()).set_result(None)
    await desk.settled(600)
    assert desk.admitted() == [f"r{n}" for n in range(600)]
    assert desk.registry.asked.empty()


async def test_the_limit_is_that_of_the_bytes_on_the_topic(desk: Desk) -> None:
    spare = LIMIT - len(framed(1, single(0, "")))
    fits = framed(desk.known, single(0, "x" * (spare - 1)))  # its length takes a byte more
    assert len(fits) == LIMIT
    over = framed(desk.known, single(1, "x" * spare))
    unknown = framed(4000, single(2, "x" * spare))
    await desk.read(record(0, fits), record(1, over), record(2, unknown))
    assert desk.admitted() == ["r0"]
    told = [(error.code, error.request_id) for _, error in desk.buried]
    assert told == [(Code.TOO_LARGE, "r1"), (Code.TOO_LARGE, "")]


def broken(value: bytes) -> Iterator[tuple[bytes, Code, str]]:
    yield value[:-1], Code.UNDECODABLE, "r0"
    yield value + b"\x00", Code.TRAILING_BYTES, "r0"
    yield value[:5], Code.UNDECODABLE, ""
    yield value[:4], Code.UNDECODABLE, ""


async def test_what_is_broken_behind_a_known_id(desk: Desk) -> None:
    cases: Sequence[tuple[bytes, Code, str]] = [*broken(framed(desk.known, single(0)))]
    await desk.read(*(record(n, value) for n, (value, _, _) in enumerate(cases)))
    assert [(kept.value, error.code, error.request_id) for kept, error in desk.buried] == cases


async def test_another_topics_schema_is_no_request(desk: Desk) -> None:
    number = int(desk.client.get_latest_version("ns.results-value").schema_id)
    await desk.read(record(0, framed(number, single(0))))
    assert desk.buried[0][1].code is Code.UNKNOWN_SCHEMA


async def test_one_that_fails_does_not_hold_up_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = desk.another_id(same_schema())
    bury = desk.undecodable

    def fail_once(record: Record, error: RequestError, principal: str) -> None:
        monkeypatch.setattr(desk, "undecodable", bury)
        raise AssertionError("planted")

    monkeypatch.setattr(desk, "undecodable", fail_once)
    await desk.read(*(record(offset, framed(number, single(offset))) for offset in range(2)))
    (await desk.registry.asked.get()).set_result(SILENT)
    await desk.settled(1)
    assert [found.offset for found, _ in desk.buried] == [1]
    await desk.read(record(2, framed(number, single(2))))
    (await desk.registry.asked.get()).set_result(None)
    await desk.settled(2)
    assert desk.admitted() == ["r2"]
