"""Who works on which batch: every gateway claims those that nobody does, and the log decides."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from modelmora.gateway.batches.register import Register
from modelmora.gateway.batches.running import Paths, Running
from modelmora.gateway.batches.state import Batch
from modelmora.gateway.caller import caller, given
from modelmora.gateway.hall import Hall
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.background import background
from modelmora.messages import BatchKind

log = structlog.get_logger(__name__)
MOST_DRIVEN = 4
"""Batches that one gateway works on at once."""
SILENT_S = 20.0
"""A batch of which nothing was told for so long has lost its gateway."""
LOOK_S = 1.0
FORGET_S = 60.0
AGAIN_S = 10.0


class Driver:
    """Works on batches, as `gateway`. Without it this gateway still answers for them."""

    def __init__(
        self, hall: Hall, register: Register, paths: Paths, gateway: str, most_line: int
    ) -> None:
        self._hall = hall
        self._register = register
        self._paths = paths
        self._gateway = gateway
        self._most_line = most_line
        self._running: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._claimed: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for work from now on."""
        self._task = background(self._look(), "batches")

    async def stop(self) -> None:
        """Leave all of it to the other gateways; what is asked goes on."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = [each for each in self._ours().values() if each.id in self._running]
        await asyncio.gather(*(self._tell(each, BatchKind.RELEASED, each.term) for each in left))

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        forget_at = loop.time() + FORGET_S
        while True:
            await self._register.changed(LOOK_S)
            if loop.time() > forget_at:
                self._register.forget()
                self._claimed.clear()
                forget_at = loop.time() + FORGET_S
            self._settle()
            for batch in self._unclaimed(loop.time()):
                self._claimed[batch.id] = loop.time()
                await self._tell(batch, BatchKind.CLAIMED, batch.term + 1)

    def _settle(self) -> None:
        """Run what is ours by what was told, and nothing else."""
        ours = self._ours()
        for name, (term, task) in [*self._running.items()]:
            if task.done() or name not in ours or ours[name].term != term:
                task.cancel()
                del self._running[name]
        for name in ours.keys() - self._running.keys():
            work = asyncio.create_task(self._run(ours[name]), name=name)
            self._running[name] = ours[name].term, work

    def _ours(self) -> dict[str, Batch]:
        batches = self._register.ledger.batches.values()
        return {
            each.id: each for each in batches if each.end is None and each.driver == self._gateway
        }

    async def _run(self, batch: Batch) -> None:
        caller.set(batch.principal)
        given.set(())  # those of who has begun it are another call's
        log.info("batch begun", batch=batch.id, term=batch.term, line=batch.next)
        try:
            await Running(self._hall, self._register, self._paths, batch, self._most_line).run()
        except Exception:
            log.exception("a batch is begun anew where it was", batch=batch.id)
            await asyncio.sleep(AGAIN_S)

    def _unclaimed(self, now: float) -> list[Batch]:
        """The oldest of those that nobody works on, as many as there is room for."""
        room = MOST_DRIVEN - len(self._running)
        free = [
            each
            for each in self._register.ledger.batches.values()
            if each.end is None
            and each.driver != self._gateway
            and (not each.driver or self._register.silent_s(each) > SILENT_S)
            and now - self._claimed.get(each.id, -SILENT_S) > SILENT_S / 2
        ]
        return sorted(free, key=lambda each: each.created_at)[: max(room, 0)]

    async def _tell(self, batch: Batch, kind: BatchKind, term: int) -> None:
        caller.set(batch.principal)
        given.set(())  # those of who has begun it are another call's
        with suppress(Refusal):
            await self._register.tell(batch.id, kind, gateway=self._gateway, term=term)
