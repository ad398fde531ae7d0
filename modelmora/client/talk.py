"""One call from its first attempt to its end, at as many gateways as that takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from modelmora.client.course import Course
from modelmora.client.errors import (
    CallError,
    DeadlineExceeded,
    GatewayUnreachable,
    closed,
    error_of,
)
from modelmora.client.gateways import Gateway, Gateways, log

Open = Callable[[Gateway, float], Any]
"""Begins the call at a gateway, with so many seconds left; a call of grpc.aio."""


class Talk:
    """Words of whichever gateway answers; a unary call has one.

    A gateway that falls silent, and does not say that it is alive, is not told that nobody waits
    for it, since that would cancel the request: another one is asked by the same id, and the first
    that has something to say is listened to from then on.
    """

    def __init__(self, gateways: Gateways, course: Course, request_id: str, call: Open) -> None:
        self._gateways = gateways
        self._course = course
        self._request_id = request_id
        self._call = call
        self._calls: dict[Gateway, Any] = {}
        self._words: dict[Gateway, asyncio.Future[Any]] = {}
        """The next word of each gateway that was asked."""
        self._leader: Gateway | None = None

    async def words(self) -> AsyncGenerator[Any]:
        """What is told, to its end. Raises CallError; leaving it cancels the call."""
        pause_s: float | None = 0.0
        try:
            while True:
                try:
                    if pause_s == 0:
                        self._begin()
                        pause_s = None
                    gateway = await self._next(pause_s)
                    if gateway is None:
                        pause_s = await self._after_silence(pause_s)
                        continue
                    word = self._take(gateway)
                except CallError as error:
                    pause_s = self._course.pause_s(error)
                    if pause_s is None and (not error.again or not self._words):
                        raise
                    log.debug("%s: %s; again in %s s", self._request_id, error.code, pause_s)
                    continue
                if word is grpc.aio.EOF:
                    return
                pause_s = None
                yield word
        except DeadlineExceeded as error:
            error.request_id = self._request_id
            for gateway in self._calls:
                self._gateways.doubt(gateway)
            raise
        finally:
            for gateway, call in self._calls.items():
                gateway.breaker = gateway.breaker.abandoned()
                call.cancel()
            await asyncio.gather(*self._words.values(), return_exceptions=True)

    def _begin(self) -> None:
        gateway = self._gateways.choose(but=self._words)
        if gateway is None:
            if self._words:
                return
            message = "no gateway has answered of late; is one running?"
            raise GatewayUnreachable("unreachable", message, request_id=self._request_id)
        try:
            call = self._call(gateway, self._course.left_s())
        except grpc.aio.UsageError:
            raise closed() from None
        self._calls[gateway] = call
        self._listen(gateway)

    def _listen(self, gateway: Gateway) -> None:
        call = self._calls[gateway]
        read = call.read() if hasattr(call, "read") else _answer(call)
        self._words[gateway] = asyncio.ensure_future(read)

    async def _next(self, within_s: float | None) -> Gateway | None:
        """Who has said something, or has failed; None where nobody has for so long."""
        within_s = self._course.patience_s if within_s is None else within_s
        within_s = min(within_s, self._course.left_s())
        if not self._words:
            await asyncio.sleep(within_s)
            return None
        asked: Iterable[Gateway] = [self._leader] if self._leader else list(self._words)
        words = {self._words[each]: each for each in asked}
        done, _ = await asyncio.wait(words, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        return next((words[each] for each in done), None)

    async def _after_silence(self, paused_s: float | None) -> float | None:
        """0 where another is to be asked now."""
        if paused_s is not None:
            return 0.0
        asked = [self._leader] if self._leader else list(self._words)
        patience_s = min(self._course.patience_s, self._course.left_s())
        if any(await asyncio.gather(*(each.alive(patience_s) for each in asked))):
            return None
        for gateway in asked:
            self._gateways.missed(gateway)
        self._leader = None
        return 0.0

    def _take(self, gateway: Gateway) -> Any:
        """The word of a gateway. Raises CallError, as the call there ended."""
        try:
            word = self._words.pop(gateway).result()
        except (grpc.RpcError, asyncio.CancelledError) as error:
            del self._calls[gateway]
            self._leader = None
            cut = isinstance(error, asyncio.CancelledError)
            ended = closed() if cut else error_of(error, self._request_id)
            self._gateways.note(gateway, ended)
            raise ended from None
        self._gateways.note(gateway, None)
        self._course.heard()
        self._leader = gateway
        if word is not grpc.aio.EOF:
            self._listen(gateway)
        return word


async def _answer(call: Any) -> Any:
    return await call
