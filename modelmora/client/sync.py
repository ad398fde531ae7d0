"""The client for plain programs: the asyncio one, on a loop of its own in a thread."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from modelmora.client.aio import AsyncClient
from modelmora.client.errors import closed
from modelmora.client.jobs import AsyncJob
from modelmora.client.options import Options

A = TypeVar("A")
T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")
STOP_S = 5.0


class Loop:
    """A loop in a thread, begun with its first call; a forked process begins its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: Thread | None = None
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin it there. Raises CallError (`closed`)."""
        try:
            thread = self._begun()
        except BaseException:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, thread.loop)

    def _begun(self) -> Thread:
        with self._lock:
            if self._closed:
                raise closed()
            if self._thread is None or self._thread.pid != os.getpid():
                self._thread = Thread()
                weakref.finalize(self, self._thread.end)
            return self._thread

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `last` there and end it; what still runs there ends with the code `closed`."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread and thread.pid == os.getpid():
            asyncio.run_coroutine_threadsafe(last(), thread.loop).result()
            thread.end(STOP_S)


class Thread:
    """The thread, and the loop that runs in it until `end`."""

    def __init__(self) -> None:
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


class Plain(Generic[A]):
    """Something whose work is done by its like for asyncio programs."""

    def __init__(self, core: A, loop: Loop) -> None:
        self._core = core
        self._loop = loop


def _waited(loop: Loop, work: Coroutine[Any, Any, T]) -> T:
    future = loop.run(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def plain(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Plain[A], P], T]:
    """The method, waited for; `on_progress` is called in the thread that waits."""

    def call(self: Plain[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        hear: Any = kwargs.get("on_progress")
        if hear is None:
            return _waited(self._loop, method(self._core, *args, **kwargs))
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        kwargs["on_progress"] = told.put
        future = self._loop.run(method(self._core, *args, **kwargs))
        future.add_done_callback(told.put)
        try:
            while (piece := told.get()) is not future:
                hear(piece)
            found: T = future.result()
            return found
        except BaseException:
            future.cancel()
            raise

    update_wrapper(call, method)
    return call


def iterated(
    method: Callable[Concatenate[A, P], AsyncGenerator[T]],
) -> Callable[Concatenate[Plain[A], P], Stream[T]]:
    """The method as an iterator."""

    def call(self: Plain[A], /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]:
        return Stream(self._loop, method(self._core, *args, **kwargs))

    update_wrapper(call, method)
    return call


class Stream(Iterator[T]):
    """What comes, one after the other; closing it before its end takes the request back.

    In `with`, or closed when nobody holds it any more.
    """

    def __init__(self, loop: Loop, coming: AsyncGenerator[T]) -> None:
        self._loop = loop
        self._coming = coming
        self._close = weakref.finalize(self, _leave, loop, coming)
        self._close.atexit = False

    def __next__(self) -> T:
        try:
            return _waited(self._loop, _next(self._coming))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Take the request back, unless it has ended."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _next(coming: AsyncGenerator[T]) -> T:
    return await anext(coming)


def _leave(loop: Loop, coming: AsyncGenerator[Any]) -> None:
    with suppress(Exception):
        loop.run(coming.aclose())


class Job(Plain[AsyncJob]):
    """A job of any gateway; whoever has its id and the same key may ask about it."""

    @property
    def id(self) -> str:
        """Its id."""
        return self._core.id

    def __repr__(self) -> str:
        return repr(self._core).removeprefix("Async")

    status = plain(AsyncJob.status)
    events = iterated(AsyncJob.events)
    wait = plain(AsyncJob.wait)
    result = plain(AsyncJob.result)
    cancel = plain(AsyncJob.cancel)


def _handled(
    method: Callable[Concatenate[Plain[AsyncClient], P], AsyncJob],
) -> Callable[Concatenate[Plain[AsyncClient], P], Job]:
    def call(self: Plain[AsyncClient], /, *args: P.args, **kwargs: P.kwargs) -> Job:
        return Job(method(self, *args, **kwargs), self._loop)

    update_wrapper(call, method)
    return call


class Client(Plain[AsyncClient]):
    """Asks models through one of several gateways (`host:port` of their gRPC doors).

    All of it is AsyncClient's, whose words hold here too. Any thread may use it, also one in which
    a loop runs; a process that was forked has connections of its own.
    """

    def __init__(self, *addresses: str, options: Options | None = None) -> None:
        super().__init__(AsyncClient(*addresses, options=options), Loop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls under way end with the code `closed`."""
        self._loop.close(self._core.close)

    infer = plain(AsyncClient.infer)
    stream = iterated(AsyncClient.stream)
    embed = plain(AsyncClient.embed)
    generate = plain(AsyncClient.generate)
    chat = plain(AsyncClient.chat)
    chat_stream = iterated(AsyncClient.chat_stream)
    rerank = plain(AsyncClient.rerank)
    classify = plain(AsyncClient.classify)
    image = plain(AsyncClient.image)
    upload = plain(AsyncClient.upload)
    fetch = plain(AsyncClient.fetch)
    download = plain(AsyncClient.download)
    submit = _handled(plain(AsyncClient.submit))
    models = plain(AsyncClient.models)
    model = plain(AsyncClient.model)
    load = plain(AsyncClient.load)
    unload = plain(AsyncClient.unload)
    pin = plain(AsyncClient.pin)
    unpin = plain(AsyncClient.unpin)
    status = plain(AsyncClient.status)

    def job(self, job_id: str) -> Job:
        """The job of that id, whoever has submitted it; nothing is asked yet."""
        return Job(self._core.job(job_id), self._loop)
