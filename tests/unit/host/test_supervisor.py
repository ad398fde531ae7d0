"""The order in which parts start, with parts that are only told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from modelmora.host.policy import Exit
from modelmora.host.supervisor import Supervisor
from modelmora.telemetry.notify import Fact

CAP_S = 60


class Told:
    """A part that gets ready, and ends, when the test says so."""

    def __init__(self, name: str, *, waits_for_broker: bool = False) -> None:
        self.name = name
        self.waits_for_broker = waits_for_broker
        self.ready = False
        self.facts: dict[str, Fact] = {}
        self.pid: int | None = None
        self.started = asyncio.Event()
        self._ended = asyncio.Event()
        self._changed: Callable[[], None] = lambda: None

    async def run(self, changed: Callable[[], None]) -> Exit:
        self._changed = changed
        self.started.set()
        await self._ended.wait()
        return Exit(0, self.ready, 1.0)

    def get_ready(self) -> None:
        self.ready = True
        self._changed()

    async def stop(self, timeout_s: float) -> None:
        self._ended.set()

    def kill(self) -> None:
        self._ended.set()


async def test_the_node_starts_beside_the_broker_and_the_gateway_after_it() -> None:
    broker, node = Told("broker"), Told("node")
    gateway = Told("gateway", waits_for_broker=True)
    supervisor = Supervisor((broker, node, gateway), changed=lambda: None, stop_s=1)
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(CAP_S):
        await node.started.wait()
        await broker.started.wait()
        assert not gateway.started.is_set()
        broker.get_ready()
        await gateway.started.wait()
        supervisor.end(0)
        assert await running == 0


async def test_a_gateway_without_a_broker_of_ours_waits_for_none() -> None:
    gateway = Told("gateway", waits_for_broker=True)
    supervisor = Supervisor((gateway,), changed=lambda: None, stop_s=1)
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(CAP_S):
        await gateway.started.wait()
        supervisor.end(0)
        assert await running == 0
