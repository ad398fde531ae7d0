"""Looks at whole topics for a caller: in a thread, one at a time, and each for a bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from modelmora.errors import (
    Code,
    ConfigurationError,
    ModelMoraError,
    NotAllowed,
    NotFound,
    Unreachable,
)
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.reading.shown import Reader
from modelmora.settings import Settings
from modelmora.web.problems import DoorCode

T = TypeVar("T")
LOOK_S = 60.0
MOST_WAITING = 8
"""Callers who may wait for their turn to look."""


class _Over(Exception):
    """Nobody waits for it any more, or its time is over."""


@dataclass(slots=True)
class Turn:
    """Until when (by the monotonic clock) a look goes on, unless it insists."""

    until: float
    insists: bool = False

    def leave(self) -> None:
        """Look no further."""
        self.until = 0.0


class Look(Reader):
    """A reader that ends when nobody waits for what it finds."""

    def __init__(self, settings: Settings, turn: Turn) -> None:
        super().__init__(settings)
        self._turn = turn

    def insist(self) -> None:
        """Go on, however long it takes and whoever leaves: what is begun is to be done whole."""
        self._turn.insists = True

    def _poll(self, count: int) -> Any:
        if time.monotonic() > self._turn.until and not self._turn.insists:
            raise _Over
        return super()._poll(count)


class Looks:
    """The looks of one gateway; all of it on one loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(1)
        self._waiting = 0
        self._now: Turn | None = None
        self._stopping = False

    def stop(self) -> None:
        """Let what looks now end soon, and begin nothing more."""
        self._stopping = True
        if self._now:
            self._now.leave()

    async def look(self, work: Callable[[Look], T]) -> T:
        """What `work` finds, which is called in a thread. Raises Refusal."""
        if self._waiting >= MOST_WAITING:
            raise Refusal(Code.BUSY, "others look at whole topics here; ask again a little later")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        return await self._begin(work)

    async def _begin(self, work: Callable[[Look], T]) -> T:
        """In its turn, which ends with the thread, and not when its caller has gone."""
        if self._stopping:
            self._free.release()
            raise Refusal(Code.STOPPING, "the gateway is stopping; ask again elsewhere or later")
        turn = self._now = Turn(time.monotonic() + LOOK_S)
        thread = asyncio.ensure_future(asyncio.to_thread(self._work, work, turn))
        thread.add_done_callback(self._ended)
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            turn.leave()
            raise

    def _ended(self, thread: asyncio.Future[Any]) -> None:
        self._now = None
        self._free.release()
        if not thread.cancelled():
            thread.exception()  # who asked may have gone

    def _work(self, work: Callable[[Look], T], turn: Turn) -> T:
        try:
            with Look(self._settings, turn) as reader:
                return work(reader)
        except _Over:
            message = f"it was not read whole within {LOOK_S:.0f} s; ask for less of it"
            raise Refusal(Code.EXPIRED, message) from None
        except ModelMoraError as error:
            raise _refusal(error) from None


def _refusal(error: ModelMoraError) -> Refusal:
    """What a look ends with, as callers are told."""
    if isinstance(error, NotFound):
        return Refusal(DoorCode.NOT_FOUND, str(error))
    if isinstance(error, ConfigurationError):
        return Refusal(Code.INVALID_INPUT, str(error))
    if isinstance(error, NotAllowed):
        return Refusal(DoorCode.REFUSED, str(error))
    if isinstance(error, Unreachable):
        return Refusal(DoorCode.BROKER_UNREACHABLE, str(error))
    return Refusal(DoorCode.CONFLICT, str(error))
