"""An event loop without threads, sockets and waits: its time is what the test says."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, cast


class Loop:
    """Runs what is ready and due when told to, always in the same order.

    It has what tasks and futures ask of a loop. What would run in a thread runs at once. `faults`
    holds what was raised where nobody looks.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.time = now
        self.faults: list[object] = []
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._me = cast("asyncio.AbstractEventLoop", self)

    def run(self, *calls: Callable[[], object]) -> None:
        """Call these, then whatever is ready or due, until nothing is."""
        ready, timers = self._ready, self._timers
        for call in calls:
            self.call_soon(call)
        asyncio._set_running_loop(self._me)
        try:
            while True:
                now = self.time()
                while timers and timers[0][0] <= now:
                    ready.append(heapq.heappop(timers)[2])
                if not ready:
                    return
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Last of what is ready."""
        handle = asyncio.Handle(callback, args, self._me, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """In so many seconds of the test's time."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """At that time of the test's."""
        handle = asyncio.TimerHandle(when, callback, args, self._me, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self._me)

    def create_task(self, coro: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        """A task of this loop."""
        return asyncio.Task(coro, loop=self._me, **more)

    def run_in_executor(self, _: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Here and now."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Somebody is to look."""
        self.faults.append(context)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_closed(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """To who asks."""
        return True

    def _timer_handle_cancelled(self, _: asyncio.TimerHandle) -> None:
        """It is passed over when it is due."""
