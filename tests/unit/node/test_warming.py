"""Which models are loaded before their requests come, and for which a leaving node waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from modelmora.agents.models.warming import ANSWER_S, Warming, awaited, in_use
from modelmora.errors import NotFound
from modelmora.kafka.leases import Leases, NodeLease
from modelmora.messages import Health, Holding, RegistryKind, RegistryRecord, State
from modelmora.records import key_of
from modelmora.scheduling import ModelKey, ModelStatus

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
    assert in_use([one, two]) == ["a@1", "b@1"]
    assert in_use([one]) == ["b@1", "a@1"]


def test_for_whom_a_leaving_node_waits() -> None:
    mine = [f"{name}@1" for name in ("a", "b", "c", "mine-alone")]
    others = [lease("n2", {"a@1": "loading", "b@1": "cold", "c@1": "ready"})]
    assert awaited(mine, others, 0.0) == ["a@1", "b@1"]
    assert awaited(mine, others, ANSWER_S + 1) == ["a@1"]
    assert awaited(mine, [], 0.0) == []


@dataclass
class Here:
    """A node's models; a load goes as far as `to`."""

    states: dict[str, State]
    to: State = State.LOADING
    asked: list[str] = field(default_factory=list)

    def status(self) -> list[ModelStatus]:
        return [ModelStatus((name, "1"), Health(each), 0, 0) for name, each in self.states.items()]

    def load(self, key: ModelKey, *, ahead: bool = False) -> Health:
        assert ahead, "it is no order"
        if key[0] not in self.states:
            raise NotFound("gone meanwhile")
        self.asked.append(key[0])
        if self.states[key[0]] is State.COLD:
            self.states[key[0]] = self.to
        return Health(self.states[key[0]])


def running(node: str, **models: str) -> RegistryRecord:
    states = {f"{name}@1": state for name, state in models.items()}
    texts = {name: Holding("cpu", 1, MB).text for name in states}
    return RegistryRecord(
        RegistryKind.NODE, node, "", "", "", node,
        lease_ms=10_000, serves=dict.fromkeys(states, "t"), states=states, holding=texts,
    )  # fmt: skip


@pytest.mark.parametrize("end", [State.READY, State.FAILED, State.COLD, None])
async def test_who_joins_waits_while_what_others_use_is_loaded(end: State | None) -> None:
    leases, here = Leases(), Here({"a": State.COLD, "b": State.COLD})
    for record in (running("n1", a="ready", b="cold", gone="ready"), running("me", b="ready")):
        leases.take(key_of(record), record, 1000)
    joining = asyncio.create_task(Warming("me", leases, here).join(600.0))
    await asyncio.sleep(0.2)
    assert not joining.done()
    assert here.asked == ["a"]
    if end:
        here.states["a"] = end
    else:
        del here.states["a"]  # it was retired
    assert await asyncio.wait_for(joining, 60) == ["a@1"]


async def test_it_does_not_wait_for_what_has_no_room() -> None:
    leases, here = Leases(), Here({"a": State.COLD}, to=State.COLD)
    record = running("n1", a="ready")
    leases.take(key_of(record), record, 1000)
    assert await asyncio.wait_for(Warming("me", leases, here).join(600.0), 60) == []


async def test_it_joins_all_the_same_when_its_time_is_over() -> None:
    leases, here = Leases(), Here({"a": State.COLD})
    record = running("n1", a="ready")
    leases.take(key_of(record), record, 1000)
    warming = Warming("me", leases, here)
    assert await asyncio.wait_for(warming.join(0.1), 60) == ["a@1"]
    assert here.states["a"] is State.LOADING


async def test_who_stays_loads_what_the_leaving_one_has_in_use() -> None:
    leases, here = Leases(), Here({"a": State.COLD})
    warming = Warming("me", leases, here)
    record = running("n1", a="ready", b="cold")

    def leave(told_ms: int, left_ms: int) -> list[str]:
        here.asked.clear()
        leases.take(key_of(record), record, told_ms)
        leases.take(key_of(record), None, left_ms)
        return here.asked

    assert leave(1000, 2000) == []  # it has not joined itself
    await warming.join(600.0)
    assert leave(3000, 30_000) == []  # it was dead long ago, and only forgotten now
    assert leave(31_000, 32_000) == ["a"]
    await Warming("me", leases, here).join(0.0)
    assert leave(33_000, 34_000) == []  # it is not to load anything ahead


async def test_who_leaves_serves_until_another_has_loaded() -> None:
    leases, here = Leases(), Here({"a": State.READY, "b": State.COLD})
    warming = Warming("me", leases, here)
    await warming.join(600.0)
    record = running("n1", a="loading")
    leases.take(key_of(record), record, 1000)
    leaving = asyncio.create_task(warming.leave(600.0))
    await asyncio.sleep(0.2)
    assert not leaving.done()
    record = running("n1", a="ready")
    leases.take(key_of(record), record, 1000)
    await asyncio.wait_for(leaving, 60)


async def test_who_has_not_joined_waits_for_nobody() -> None:
    leases, here = Leases(), Here({"a": State.READY})
    record = running("n1", a="loading")
    leases.take(key_of(record), record, 1000)
    await asyncio.wait_for(Warming("me", leases, here).leave(600.0), 60)
