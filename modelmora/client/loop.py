"""A loop in a thread of its own, for plain programs that use what is made for asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

from modelmora.client.errors import closed

T = TypeVar("T")
STOP_S = 5.0
Coming: TypeAlias = weakref.WeakSet[AsyncGenerator[Any]]
"""Streams that were begun."""


class Loop:
    """A loop in a thread, begun with its first call; a forked process begins its own."""

    def __init__(self) -> None:
        # A stream that the garbage collector closes may come in between, in the same thread.
        self._lock = threading.RLock()
        self._thread: Thread | None = None
        self._coming: Coming = weakref.WeakSet()
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin it there. Raises CallError (`closed`)."""
        with self._lock:  # to the end: a loop that ends meanwhile would never begin it
            try:
                thread = self._begun()
            except BaseException:
                work.close()
                raise
            return asyncio.run_coroutine_threadsafe(work, thread.loop)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it. Raises CallError (`closed`); who leaves cancels it."""
        future = self.run(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def next(self, coming: AsyncGenerator[T]) -> T:
        """What comes next. Raises StopAsyncIteration, and as `wait`."""
        return self.wait(self._next(coming))

    async def _next(self, coming: AsyncGenerator[T]) -> T:
        self._coming.add(coming)
        return await anext(coming)

    def _begun(self) -> Thread:
        if self._closed:
            raise closed()
        if self._thread is None or self._thread.pid != os.getpid():
            self._thread = Thread(self._coming)
            weakref.finalize(self, self._thread.end)
        return self._thread

    def close(self, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Run `last` there and end it; what still runs there has a while to end by itself."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread and thread.pid == os.getpid():
            try:
                if last:
                    asyncio.run_coroutine_threadsafe(last(), thread.loop).result()
            finally:
                thread.end(STOP_S)


class Thread:
    """The thread, and the loop that runs in it until `end`."""

    def __init__(self, coming: Coming) -> None:
        self._coming = coming
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._ended: asyncio.Future[float] = self.loop.create_future()
        self._thread = threading.Thread(target=self._serve, name="modelmora", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._until_ended())

    async def _until_ended(self) -> None:
        grace_s = await self._ended
        if grace_s and (others := asyncio.all_tasks() - {asyncio.current_task()}):
            await asyncio.wait(others, timeout=grace_s)
        # A loop that ends closes what is nested all at once, and complains.
        for each in [*self._coming]:
            with suppress(Exception):
                await each.aclose()

    def end(self, grace_s: float = 0.0) -> None:
        """End it, and after so long whatever runs there; once more does nothing."""
        if self.pid == os.getpid():
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._end, grace_s)
            if self._thread is not threading.current_thread():
                self._thread.join(2 * STOP_S)

    def _end(self, grace_s: float) -> None:
        if not self._ended.done():
            self._ended.set_result(grace_s)
