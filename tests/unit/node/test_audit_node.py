"""The node's own life: an end that comes while it starts, a rebalance that comes while it stops."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelmora.kafka.batches import Batch
from modelmora.node import process as program
from modelmora.node.health import NodeMetrics
from modelmora.node.lookout import EXIT_CODE
from modelmora.node.node import Node
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeRecord


@pytest.fixture
async def node() -> Node:
    return Node(Settings(bootstrap_servers="127.0.0.1:1", dynamic_member=True))


async def test_batches_that_come_while_the_node_stops_are_not_taken(node: Node) -> None:
    lane = ("modelmora.requests.low", 0)
    node.intake.assign(lane, 1, 0)
    node.requests.close()
    record = FakeRecord(*lane, 0)
    await node.requests.on_batch(Batch(lane, 1, 0, [record]))
    assert node.intake.open_requests == 0


async def test_a_watch_that_breaks_ends_the_node(node: Node) -> None:
    async def broken() -> None:
        raise ValueError

    node._watch(models=broken())
    assert await asyncio.wait_for(node.failure, 30) == EXIT_CODE


async def test_a_node_that_fails_while_it_starts_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, *_: object) -> None:
            self.failure: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self.metrics = NodeMetrics()

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
