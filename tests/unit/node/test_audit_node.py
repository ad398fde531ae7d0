"""The node's own life: an end that comes while it starts, a rebalance that comes while it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from modelmora.kafka.batches import Batch
from modelmora.node import process as program
from modelmora.node.lookout import EXIT_CODE
from modelmora.node.metrics import NodeMetrics
from modelmora.node.node import Node
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeRecord, incoming


@pytest.fixture
async def node() -> Node:
    return Node(Settings(bootstrap_servers="127.0.0.1:1", dynamic_member=True))


async def test_the_clock_asks_the_pulse_that_is_started_who_leads(node: Node) -> None:
    assert node.clock._leads == node.pulse.leader


async def test_batches_that_come_while_the_node_stops_are_not_taken(node: Node) -> None:
    lane = ("modelmora.requests.low", 0)
    node.intake.assign(lane, 1, 0)
    node.requests.close()
    record = FakeRecord(*lane, 0)
    await node.requests.on_batch(Batch(lane, 1, 0, [record]))
    assert node.intake.open_requests == 0


async def test_what_waits_for_another_of_its_id_is_left_to_others_where_the_node_stops(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be begun once that has ended, to be taken from its child again."""
    lane = ("modelmora.requests.low", 0)
    node.intake.assign(lane, 1, 0)
    first, second = (FakeRecord(*lane, offset, 1) for offset in range(2))
    for record in (first, second):
        assert node.intake.begin(record)
        node.twins.takes(incoming("no-time-in-it", record=record))

    async def drain(*_: object) -> bool:
        node.twins.done(first)
        raise EOFError

    monkeypatch.setattr(node.service, "drain", drain)
    with pytest.raises(EOFError):
        await node.stop()
    assert not node.twins._open


@pytest.mark.parametrize("failed", [False, True])
async def test_a_node_that_has_failed_does_not_wait_for_others(
    node: Node, monkeypatch: pytest.MonkeyPatch, *, failed: bool
) -> None:
    """It may read nothing any more: who takes its partitions over is to do so at once."""

    async def leave(most_s: float) -> None:
        assert (most_s == 0) is failed
        raise EOFError

    monkeypatch.setattr(node.warming, "leave", leave)
    if failed:
        node.fail("its reader stands still")
    with pytest.raises(EOFError):
        await node.stop()


async def test_models_are_looked_at_again_once_others_are_loaded(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was registered meanwhile is served when its first request comes."""
    seen: list[str] = []

    def step(name: str = "") -> Callable[..., Awaitable[None]]:
        async def taken(*_: object) -> None:
            seen.extend([name] if name else [])

        return taken

    def member() -> None:
        seen.append("member")
        raise EOFError

    for part in (node.pulse, node.publisher, node.teller, node.control):
        monkeypatch.setattr(part, "start", step())
    monkeypatch.setattr(node, "acknowledged", step())
    monkeypatch.setattr(node.app.feed, "reading", SimpleNamespace(wait=step()))
    monkeypatch.setattr(node, "_look_at_models", step("models"))
    monkeypatch.setattr(node.warming, "join", step("others"))
    monkeypatch.setattr(node.member, "start", member)
    with pytest.raises(EOFError):
        await node.start()
    assert seen == ["models", "others", "models", "member"]


async def test_a_watch_that_breaks_ends_the_node(node: Node) -> None:
    async def broken() -> None:
        raise ValueError

    node.watches.begin(models=broken())
    assert await asyncio.wait_for(node.failure, 30) == EXIT_CODE


async def test_a_node_that_fails_while_it_starts_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, *_: object) -> None:
            self.failure: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self.metrics = NodeMetrics()
            self.wellness = SimpleNamespace()

        async def begin(self) -> None:
            pass

        async def start(self) -> None:
            self.failure.set_result(EXIT_CODE)
            await asyncio.Event().wait()

        async def stop(self) -> None:
            pass

    monkeypatch.setattr(program, "prepare_topics", lambda _: 4)
    monkeypatch.setattr(program, "Node", Failing)
    settings: Any = Settings(bootstrap_servers="127.0.0.1:1")
    assert await asyncio.wait_for(program.run(settings), 30) == EXIT_CODE
