"""The node's own life: an end that comes while it starts, a rebalance that comes while it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from faust.types import TP
from modelmora.node.watchdog import EXIT_CODE

from modelmora.node import __main__ as program
from modelmora.node.node import Node
from modelmora.settings import Settings

LANE = TP("modelmora.requests.low", 0)


class FakeConsumer:
    """Has committed nothing, and notes what it is asked to commit."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def committed(self, partitions: set[TP]) -> dict[TP, tuple[int, str]]:
        return dict.fromkeys(partitions, (0, ""))

    async def commit_now(self) -> None:
        self.steps.append("commit")


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node(Settings(bootstrap_servers="127.0.0.1:1", dynamic_member=True))
    made.app.consumer = FakeConsumer()
    yield made
    made.app._consumer = None


async def test_an_assignment_opens_the_intake(node: Node) -> None:
    await node._on_assigned({LANE})
    assert node.intake.partitions() == {LANE}


async def test_an_assignment_while_the_node_stops_does_not(node: Node) -> None:
    await node._on_assigned({LANE})
    node._stopping = True
    await node._on_revoked({LANE})
    await node._on_assigned({LANE})
    assert node.intake.partitions() == set()


async def test_what_is_acknowledged_is_committed_although_the_rest_is_late(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> None:
        raise TimeoutError

    monkeypatch.setattr(node.publisher, "flush", never)
    await node._on_revoked({LANE})
    assert node.app.consumer.steps == ["commit"]


async def test_a_watch_that_breaks_ends_the_node(node: Node) -> None:
    async def broken() -> None:
        raise ValueError

    node._watch(models=broken())
    assert await asyncio.wait_for(node.failure, 30) == EXIT_CODE


async def test_a_node_that_fails_while_it_starts_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, *_: object) -> None:
            self.failure: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self.stopped = False

        async def begin(self) -> None:
            pass

        async def start(self) -> None:
            self.failure.set_result(EXIT_CODE)
            await asyncio.Event().wait()

        async def stop(self) -> None:
            self.stopped = True

    monkeypatch.setattr(program, "prepare_topics", lambda _: 4)
    monkeypatch.setattr(program, "Node", Failing)
    settings: Any = Settings(bootstrap_servers="127.0.0.1:1")
    assert await asyncio.wait_for(program.run(settings), 30) == EXIT_CODE
