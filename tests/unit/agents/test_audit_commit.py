"""The last commit before partitions go: it holds what a commit under way did not know yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from faust.types import TP

from modelmora.agents.app import Consumer, build_app
from modelmora.agents.intake import Intake
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeRecord

P = TP("lane", 0)


class Coordinator:
    """Takes commits when `open` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.asked = asyncio.Event()
        self.offsets: list[int] = []

    async def commit(self, offsets: Mapping[TopicPartition, Any]) -> None:
        self.asked.set()
        await self.open.wait()
        self.offsets += [each.offset for each in offsets.values()]

    async def call_thread(self, what: Any, *arguments: Any) -> Any:
        return await what(*arguments)


async def nothing(*_: object) -> None:
    """A hook."""


@pytest.fixture
async def consumer() -> AsyncIterator[Consumer]:
    settings = Settings(bootstrap_servers="127.0.0.1:1", namespace="ns", dynamic_member=True)
    intake = Intake(settings.limits)
    made = build_app(settings, intake, nothing, nothing, nothing).consumer
    made._thread._consumer = Coordinator()
    made._thread.call_thread = made._thread._consumer.call_thread
    made.assignment = lambda: {P}
    intake.assign({P: (0, "")})
    yield made
    made._thread.thread_loop.close()


async def test_it_does_not_settle_for_a_commit_under_way(consumer: Consumer) -> None:
    intake, coordinator = consumer.app.intake, consumer._thread._consumer
    records = [FakeRecord("lane", 0, offset) for offset in range(2)]
    for record in records:
        intake.begin(record)
    intake.done(records[0])
    under_way = asyncio.create_task(consumer.commit())
    await asyncio.wait_for(coordinator.asked.wait(), 30)
    intake.done(records[1])
    last = asyncio.create_task(consumer.commit_now())
    coordinator.open.set()
    await asyncio.wait_for(asyncio.gather(under_way, last), 30)
    assert coordinator.offsets == [1, 2]
