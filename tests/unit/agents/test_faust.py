"""Faust as we use it: what our transport relies on, and the fault that made us."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import faust
import pytest
from faust.transport.consumer import Consumer as AnyConsumer
from faust.types import TP

from modelmora.agents import app as ours
from modelmora.agents.app import Consumer, NodeApp, build_app
from modelmora.kafka.batches import Batch
from modelmora.kafka.topics import LANE_TOPICS, TIERS, Topic
from modelmora.settings import Settings

PARTITION = TP("lane", 0)
LANE = "ns.requests.low"


class Agent:
    """Takes batches as the node does."""

    def __init__(self) -> None:
        self.taken: list[Batch] = []
        self.woken = asyncio.Event()

    async def on_batch(self, batch: Batch) -> None:
        self.taken.append(batch)
        self.woken.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.taken) < count:
                self.woken.clear()
                await self.woken.wait()


@pytest.fixture
async def agent() -> Agent:
    return Agent()


@pytest.fixture
async def app(agent: Agent, tmp_path: Path) -> AsyncIterator[NodeApp]:
    settings = Settings(bootstrap_servers="127.0.0.1:1", namespace="ns", data_dir=tmp_path)
    made = build_app(settings, agent.on_batch)
    await made.start()
    await asyncio.wait_for(made.feed.reading.wait(), 30)
    yield made
    await made.stop()


def batch(number: int, epoch: int = 1) -> Batch:
    return Batch((LANE, number), epoch, 0, ())


def test_the_release_that_was_read() -> None:
    assert version("faust-streaming").startswith("0.15.3")


async def test_every_batch_reaches_the_agent_in_order(app: NodeApp, agent: Agent) -> None:
    """Of partitions that Faust has never heard of, and read again from the beginning too."""
    fetches = [[batch(7), batch(3)], [batch(7)], [batch(9, 2), batch(9, 2), batch(0)]]
    taken: list[None] = []
    app.feed.taken = lambda: taken.append(None)
    for fetch in fetches:
        app.feed.put(fetch)
    await agent.until(6)
    assert agent.taken == [each for fetch in fetches for each in fetch]
    assert len(taken) == len(fetches)
    assert not app.crashed


async def test_faust_connects_to_nothing_and_writes_nothing(app: NodeApp) -> None:
    assert isinstance(app.consumer, Consumer)
    assert app.consumer.assignment() == {
        TP(f"ns.{topic}", 0) for topic in (*LANE_TOPICS.values(), *TIERS, Topic.SHADOW)
    }
    assert await app.consumer.commit() is False
    assert await app.consumer.force_commit() is False


async def test_faust_shows_its_messages_only_of_the_present_generation(app: NodeApp) -> None:
    """Streams skip others without a word: hence the generation in each message of ours."""
    assert "generation_id" in inspect.getsource(faust.Stream)
    assert app.consumer_generation_id == app.consumer.app.consumer_generation_id


def test_no_private_name_of_faust_is_reached_into() -> None:
    """Overriding what is abstract is a subclass's right; asking for a private name is not."""
    tree = ast.parse(inspect.getsource(ours))
    own = {"_assignment", "_fetches", "_number"}
    asked = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_")
    }
    assert asked <= own


async def test_no_acks_and_no_waiting_for_them(app: NodeApp) -> None:
    assert app.conf.stream_wait_empty is False
    (agent,) = app.agents.values()
    assert agent.channel.acks is False
    assert len(agent.channel.topics) == len(LANE_TOPICS) + len(TIERS) + 1


def test_faust_still_asks_for_the_end_of_recovery_by_this_name() -> None:
    assert inspect.iscoroutinefunction(AnyConsumer.seek_to_committed)
    assert list(inspect.signature(AnyConsumer.getmany).parameters) == ["self", "timeout"]


async def test_faust_still_commits_past_an_unfinished_offset() -> None:
    """When this fails Faust has been mended: see whether the ledger may become simpler."""
    loop = asyncio.get_running_loop()
    app = faust.App("acks", broker="kafka://127.0.0.1:1", web_enabled=False, loop=loop)
    consumer = app.consumer
    consumer._committed_offset[PARTITION] = 0
    consumer._acked[PARTITION].extend([2, 3])
    consumer._acked_index[PARTITION].update([2, 3])
    consumer._thread.thread_loop.close()
    assert consumer._new_offset(PARTITION) == 4, "offsets 0 and 1 have not been acknowledged"
