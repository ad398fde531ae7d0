"""Which models are loaded before their requests come, and for which a leaving node waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from modelmora.agents.models.warming import ANSWER_S, Want, Warming, awaited, in_use, that_fit
from modelmora.errors import NotFound
from modelmora.kafka.leases import Leases, NodeLease
from modelmora.messages import DeviceKind, Health, Holding, RegistryKind, RegistryRecord, State
from modelmora.records import key_of
from modelmora.scheduling import Device, ModelKey, ModelStatus, Policy
from modelmora.scheduling.model import ReplicaStatus

MB = 1 << 20


def lease(node: str, states: dict[str, str], **holding: Holding) -> NodeLease:
    texts = {f"{name}@1": each.text for name, each in holding.items()}
    return NodeLease(node, dict.fromkeys(states, "t"), (0,), 0, 10_000, {}, states, texts)


def test_what_is_in_use_the_busiest_first() -> None:
    one = lease(
        "n1",
        {"a@1": "ready", "b@1": "ready", "old@1": "ready", "cold@1": "cold", "off@1": "failed"},
        a=Holding("cpu", 1, 5 * MB, waiting=1),
        b=Holding("cpu", 2, 7 * MB, running=1, waiting=2),
        old=Holding("cpu", 3, MB, idle_s=600.0),
    )
    two = lease("n2", {"a@1": "ready"}, a=Holding("cpu", 1, 6 * MB, gpu_bytes=9, waiting=5))
    assert in_use([one, two]) == [Want("a@1", 6 * MB, 9, 6), Want("b@1", 7 * MB, 0, 3)]


def test_only_what_fits_and_is_cold_here() -> None:
    wants = [Want(f"{name}@1", ram, gpu, 1) for name, ram, gpu in (
        ("big", 90, 0), ("small", 30, 0), ("there", 1, 0), ("unknown", 1, 0), ("on-gpu", 1, 9),
        ("last", 60, 0),
    )]  # fmt: skip
    here = {f"{name}@1": State.COLD for name in ("big", "small", "on-gpu", "last")}
    here["there@1"] = State.READY
    assert [w.model for w in that_fit(wants, here, 100, 5)] == ["big@1"]
    assert [w.model for w in that_fit(wants[1:], here, 100, 9)] == ["small@1", "on-gpu@1", "last@1"]


def test_for_whom_a_leaving_node_waits() -> None:
    mine = [f"{name}@1" for name in ("a", "b", "c", "mine-alone")]
    others = [lease("n2", {"a@1": "loading", "b@1": "cold", "c@1": "ready"})]
    assert awaited(mine, others, 0.0) == ["a@1", "b@1"]
    assert awaited(mine, others, ANSWER_S + 1) == ["a@1"]
    assert awaited(mine, [], 0.0) == []


@dataclass
class Here:
    """A node's models: they are loaded when `done` says so."""

    states: dict[str, State]
    held: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    at_once: bool = True

    def status(self) -> list[ModelStatus]:
        return [
            ModelStatus(
                (name, "1"),
                Health(state),
                0,
                0,
                (ReplicaStatus(1, state, "cpu", self.held.get(name, 0), 0, 0),),
            )
            for name, state in self.states.items()
        ]

    def load(self, key: ModelKey) -> Health:
        if key[0] not in self.states:
            raise NotFound("gone meanwhile")
        self.asked.append(key[0])
        self.states[key[0]] = State.READY if self.at_once else State.LOADING
        return Health(self.states[key[0]])


def running(node: str, **models: str) -> RegistryRecord:
    states = {f"{name}@1": state for name, state in models.items()}
    texts = {name: Holding("cpu", 1, MB).text for name in states}
    return RegistryRecord(
        RegistryKind.NODE, node, "", "", "", node,
        lease_ms=10_000, serves=dict.fromkeys(states, "t"), states=states, holding=texts,
    )  # fmt: skip


async def test_who_joins_waits_until_what_others_use_is_loaded() -> None:
    leases, here = Leases(), Here({"a": State.COLD, "b": State.COLD}, at_once=False)
    for record in (running("n1", a="ready", b="cold"), running("me", b="ready")):
        leases.take(key_of(record), record, 1000)
    warming = Warming("me", leases, here, Policy(budget_bytes=10 * MB))
    joining = asyncio.create_task(warming.join(60.0))
    await asyncio.sleep(0.2)
    assert not joining.done()
    assert here.asked == ["a"]
    here.states["a"] = State.READY
    assert await asyncio.wait_for(joining, 30) == ["a@1"]


async def test_it_joins_all_the_same_when_its_time_is_over() -> None:
    leases, here = Leases(), Here({"a": State.COLD}, at_once=False)
    record = running("n1", a="ready")
    leases.take(key_of(record), record, 1000)
    warming = Warming("me", leases, here, Policy(budget_bytes=10 * MB))
    assert await asyncio.wait_for(warming.join(0.1), 30) == ["a@1"]
    assert here.states["a"] is State.LOADING
    assert await Warming("me", leases, here, Policy()).join(0.0) == []


async def test_who_stays_loads_what_the_leaving_one_has_in_use() -> None:
    gpus = (Device("g", DeviceKind.CUDA, 0, "cuda:0"),)
    leases, here = Leases(), Here({"a": State.COLD, "held": State.READY}, {"held": 9 * MB})
    warming = Warming("me", leases, here, Policy(budget_bytes=10 * MB, gpus=gpus))
    record = running("n1", a="ready", held="ready")
    leases.take(key_of(record), record, 1000)
    leases.take(key_of(record), None, 2000)
    assert here.asked == []  # it has not joined itself
    await warming.join(0.0)
    leases.take(key_of(record), record, 3000)
    leases.take(key_of(record), None, 30_000)
    assert here.asked == []  # it was dead long ago, and only forgotten now
    leases.take(key_of(record), record, 31_000)
    leases.take(key_of(record), None, 32_000)
    assert here.asked == ["a"]


async def test_who_leaves_serves_until_another_has_loaded() -> None:
    leases, here = Leases(), Here({"a": State.READY, "b": State.COLD})
    warming = Warming("me", leases, here, Policy())
    record = running("n1", a="loading")
    leases.take(key_of(record), record, 1000)
    leaving = asyncio.create_task(warming.leave(60.0))
    await asyncio.sleep(0.2)
    assert not leaving.done()
    record = running("n1", a="ready")
    leases.take(key_of(record), record, 1000)
    await asyncio.wait_for(leaving, 30)
