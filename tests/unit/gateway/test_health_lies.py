"""The lies that a gateway's health has told, or that others' have, each by its name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from math import inf
from types import SimpleNamespace
from typing import Any, cast

import grpc.aio
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelmora.gateway.app import Gateway
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.oip.models import index, is_ready
from modelmora.gateway.hall import STOPPING, Hall, state_of
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.models import Directory
from modelmora.gateway.nodes import NodeWatch
from modelmora.gateway.probes.prober import Told as Probed
from modelmora.gateway.wellness import NO_NODE, Seen, bears_s, signs_of
from modelmora.kafka import pulse as pulses
from modelmora.kafka.pulse import Pulse, Shape
from modelmora.kafka.reading import tail as tails
from modelmora.kafka.reading.tail import Tail
from modelmora.messages import RegistryKind, RegistryRecord, State
from modelmora.records import key_of
from modelmora.settings import Settings
from modelmora.telemetry.health import Verdict, judge
from modelmora.wire import encode_registry
from tests.topics import until
from tests.unit.gateway.fakes import FakeHall

SESSION_S = 10.0


def verdict(**seen: Any) -> Verdict:
    return judge(signs_of(replace(Seen(), **seen), SESSION_S))


@pytest.mark.parametrize(
    ("lie", "seen", "fault"),
    [
        ("ready while no node runs", {"absent_s": 0.1}, NO_NODE),
        ("ready while nodes run and none reads", {"idle_s": 2 * SESSION_S}, "no node has read"),
        ("ready after a stop has begun", {"stopping": True}, STOPPING),
        ("ready without a broker", {"broker": False}, "the broker does not answer"),
        ("ready without a right to ask", {"broker": False, "refused": "it refuses"}, "it refuses"),
        ("ready though no outcome arrives", {"replies": "results is not read"}, "results"),
        ("ready with a registry that is not read", {"registry": "it is not read"}, "it is not"),
        ("ready with a lane that answers nothing", {"probes": Probed(("no probe",))}, "no probe"),
        ("ready with a lane that takes nothing", {"silent": frozenset({"normal"})}, "normal does"),
    ],
)
def test_ready_is_no(lie: str, seen: dict[str, Any], fault: str) -> None:
    (told,) = verdict(**seen).faults
    assert told.startswith(fault), lie


def test_a_dead_reader_is_given_the_time_in_which_another_takes_over() -> None:
    assert verdict(idle_s=2 * SESSION_S - 1).ready


def test_it_is_ready_without_a_node_where_nodes_come_when_requests_wait() -> None:
    assert not verdict(absent_s=0.1).ready
    found = verdict(absent_s=3600.0, idle_s=3600.0, on_demand=True)
    assert found.ready
    assert not found.degraded


def test_a_node_that_has_come_and_reads_nothing_is_told_and_leaves_such_a_gateway_ready() -> None:
    found = verdict(idle_s=3600.0, on_demand=True)
    assert found.ready
    assert found.degraded["nodes"].startswith("no node has read")


@pytest.mark.parametrize(
    ("on_demand", "known", "bears"),
    [(False, True, 10.0), (True, True, inf), (False, False, 0.0), (True, False, 0.0)],
)
def test_who_may_wait_for_a_node(*, on_demand: bool, known: bool, bears: float) -> None:
    assert bears_s(Settings(nodes_on_demand=on_demand), known=known) == bears


def test_all_lanes_that_take_nothing_are_named() -> None:
    assert len(verdict(silent=frozenset({"high", "low"})).faults) == 2


def test_partitions_that_do_not_answer_leave_it_ready() -> None:
    found = verdict(probes=Probed(late="no probe of low 3 was answered"))
    assert found.ready
    assert found.degraded == {"probes": "no probe of low 3 was answered"}


@pytest.mark.parametrize("part", ["batches", "store", "schemas", "topics"])
def test_what_not_all_need_is_told_and_leaves_it_ready(part: str) -> None:
    found = verdict(**{part: "silent"})
    assert found.ready
    assert [*found.degraded.values()] == ["silent"]


def test_ages_are_told_and_are_no_faults() -> None:
    found = verdict(
        unaccepted_s=500, unacknowledged_s=3, answered_s=2, stalled_s=1, probes=Probed(oldest_s=4)
    )
    assert found.ready
    assert found.ages == {
        "unaccepted": 500,
        "unacknowledged": 3,
        "answer": 2,
        "loop": 1,
        "probe": 4,
    }


# Nodes -------------------------------------------------------------------------------------------


def lease(*partitions: int) -> RegistryRecord:
    return RegistryRecord(
        RegistryKind.NODE,
        "n1",
        "",
        "",
        "",
        "n1",
        lease_ms=600_000,
        serves={"m@1": "echo"},
        states={"m@1": "ready"},
        partitions=partitions,
    )


class Told:
    """A directory of one model, which a node tells of."""

    def __init__(self) -> None:
        settings = Settings(bootstrap_servers="127.0.0.1:1")
        self.directory = Directory(settings, Pulse(settings, ["t"]))
        now = asyncio.get_running_loop().time()
        model = RegistryRecord(RegistryKind.MODEL, "m", "1", "echo", "tests", "tests")
        self.tell(model)
        self.directory._watch = NodeWatch(now)
        self.directory._reading_watch = NodeWatch(now)

    def tell(self, record: RegistryRecord) -> None:
        value = encode_registry(record)
        told = ConsumerRecord("t", 0, 0, 1000, 1, key_of(record), value, None, 0, 0, ())
        self.directory.handle(told)

    def pass_s(self, seconds: float) -> None:
        """So much time goes by in silence."""
        for watch in (self.directory._watch, self.directory._reading_watch):
            assert watch
            watch._until -= seconds

    def hall(self) -> Hall:
        """As much of one as its doors ask."""
        directory = self.directory
        faults = (NO_NODE,) if directory.absent_s() else ()
        told: Any = SimpleNamespace(
            health=directory.health,
            models=directory.models,
            faults=lambda: faults,
            registrar=SimpleNamespace(state=directory.state),
        )
        return cast("Hall", told)


async def test_a_model_is_not_ready_by_the_last_word_of_a_node_that_died() -> None:
    told = Told()
    told.tell(lease(0))
    (model,) = told.directory.models()
    assert state_of(told.hall(), model)["state"] == State.READY
    assert (is_ready(told.hall(), "m", "1"), len(index(told.hall(), ready=True))) == (True, 1)
    told.pass_s(601)
    assert told.directory.absent_s() > 0
    assert state_of(told.hall(), model)["state"] is None
    assert (is_ready(told.hall(), "m", "1"), index(told.hall(), ready=True)) == (False, [])
    assert told.directory.status() == {}


async def test_a_node_that_runs_and_reads_nothing_is_no_reader() -> None:
    told = Told()
    told.tell(lease(0))
    assert (told.directory.absent_s(), told.directory.idle_s()) == (0, 0)
    told.tell(lease())
    told.pass_s(1)
    assert told.directory.absent_s() == 0
    assert told.directory.idle_s() > 0


# Stops -------------------------------------------------------------------------------------------


async def test_grpc_health_does_not_serve_once_a_stop_has_begun() -> None:
    server = RpcServer(FakeHall(), Metrics(), 1000)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = health_pb2_grpc.HealthStub(channel).Check

        async def status() -> Any:
            return (await ask(health_pb2.HealthCheckRequest(), timeout=60)).status

        await server.serving(now=True)
        assert await status() == health_pb2.HealthCheckResponse.SERVING
        await server.leave()
        await server.serving(now=True)  # as a look that came too late has it
        assert await status() == health_pb2.HealthCheckResponse.NOT_SERVING
    await server.stop(0)


async def test_what_takes_long_to_stop_keeps_no_gateway_ready() -> None:
    gateway = Gateway(Settings(bootstrap_servers="127.0.0.1:1"))
    told: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self._name = name

        def leave(self) -> Any:
            told.append(self._name)
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done

        async def stop(self, *_: object) -> None:
            await asyncio.Event().wait()

    bridge, rpc, driver = (cast("Any", Part(name)) for name in ("bridge", "rpc", "driver"))
    gateway._bridge, gateway._rpc, gateway._driver = bridge, rpc, driver
    stopping = asyncio.create_task(gateway.stop())
    await until(lambda: len(told) == 2)
    assert told == ["bridge", "rpc"], "though the driver of batches still stops"
    stopping.cancel()


# Clients that hang -------------------------------------------------------------------------------


class HungConsumer:
    """The first of them gives no answer, the second one does."""

    made = 0

    def __init__(self, **_: object) -> None:
        type(self).made += 1
        self._hangs = self.made == 1

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    beginning_offsets = end_offsets

    def assign(self, _: object) -> None: ...

    def seek(self, *_: object) -> None: ...

    async def position(self, _: object) -> int:
        return 0

    async def getmany(self, **_: object) -> dict[TopicPartition, list[ConsumerRecord]]:
        if self._hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0.001)
        return {}


async def test_a_consumer_that_hangs_is_a_fault_and_another_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tails, "AIOKafkaConsumer", HungConsumer)
    monkeypatch.setattr(tails, "HUNG_S", 0.05)
    monkeypatch.setattr(HungConsumer, "made", 0)
    settings = Settings(bootstrap_servers="127.0.0.1:1")
    pulse: Any = SimpleNamespace(shapes={"t": Shape("id", 1)}, alive=True)
    tail = Tail(settings, pulse, lambda _: None)
    await tail.start({"t": [0]}, "end")
    try:
        await until(lambda: tail.fault is not None)
        await until(lambda: tail.fault is None and HungConsumer.made == 2)
    finally:
        await tail.stop()


async def test_a_pulse_whose_question_hangs_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulses, "HUNG_S", 0.05)
    monkeypatch.setattr(pulses, "BEAT_S", 0.0)
    pulse = Pulse(Settings(bootstrap_servers="127.0.0.1:1"), ["t"])
    answers = 0

    async def ask(_: object) -> dict[str, Shape]:
        nonlocal answers
        answers += 1
        if answers > 2:
            await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(pulse, "_ask", ask)
    assert pulse.answered_s == 0
    await pulse.start()
    try:
        assert pulse.alive
        await until(lambda: not pulse.alive)
        assert pulse.answered_s >= 0.05
    finally:
        await pulse.stop()
