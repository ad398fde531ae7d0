"""The client for plain programs: the asyncio one, on a loop of its own in a thread."""

from __future__ import annotations

import queue
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from modelmora.client.aio import AsyncClient
from modelmora.client.jobs import AsyncJob
from modelmora.client.loop import Loop
from modelmora.client.options import Options

A = TypeVar("A")
T = TypeVar("T")
P = ParamSpec("P")


class Plain(Generic[A]):
    """Something whose work is done by its like for asyncio programs."""

    def __init__(self, core: A, loop: Loop) -> None:
        self._core = core
        self._loop = loop


def plain(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Plain[A], P], T]:
    """The method, waited for; `on_progress` is called in the thread that waits."""

    def call(self: Plain[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        hear: Any = kwargs.get("on_progress")
        if hear is None:
            return self._loop.wait(method(self._core, *args, **kwargs))
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
            return self._loop.next(self._coming)
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Take the request back, unless it has ended."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    a loop runs, and a process that was forked before the first call.
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
