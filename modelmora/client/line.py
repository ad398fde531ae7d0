"""The line to the gateways: calls and streams over it, on the loop that uses it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from operator import attrgetter
from typing import Any

from modelmora.client.course import Budget, Course
from modelmora.client.errors import closed, forked
from modelmora.client.gateways import Gateway, Gateways
from modelmora.client.objects import Store
from modelmora.client.options import Options
from modelmora.client.talk import Talk
from modelmora.client.tracing import trace_metadata
from modelmora.errors import Invalid

_used_by: int | None = None
"""The process that has used gRPC; one forked from it has not its threads, and calls would hang."""


class Line:
    """Opened by its first call, for the loop that makes it.

    A client may so be made before there is a loop, or before a fork, and go on in another loop.
    """

    def __init__(self, addresses: tuple[str, ...], options: Options) -> None:
        if not addresses:
            raise Invalid("one gateway at least is needed, as host:port of its gRPC")
        for address in addresses:
            if address.startswith(("http://", "https://")):
                raise Invalid(f"{address} is no host:port of a gateway's gRPC, as localhost:9090")
        self.options = options
        self.store = Store(options.ca)
        self._addresses = addresses
        self._budget = Budget()
        self._at: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def _opened(self) -> Gateways:
        if self._closed:
            raise closed()
        global _used_by
        if _used_by not in (None, os.getpid()):
            raise forked()
        if self._at is not (loop := asyncio.get_running_loop()):
            _used_by, self._at = os.getpid(), loop
            self.store = Store(self.options.ca)
            each = [Gateway(address, self.options) for address in self._addresses]
            self._gateways = Gateways(each, self.options.patience_s)
        return self._gateways

    async def close(self) -> None:
        """Close the connections; calls under way end."""
        self._closed = True
        if self._at is asyncio.get_running_loop():
            self._at = None
            await self._gateways.close()
            await self.store.close()

    async def ask(
        self, method: str, message: Any, timeout_s: float | None = None, **how: Any
    ) -> Any:
        """The answer of a method that has one; see `tell`."""
        async with aclosing(self.tell(method, message, timeout_s, **how)) as words:
            async for word in words:
                return word
        raise AssertionError("an attempt raises or answers")

    async def tell(
        self,
        method: str,
        message: Any,
        timeout_s: float | None = None,
        *,
        request_id: str = "",
        bounded: bool = True,
    ) -> AsyncGenerator[Any]:
        """What `method` (as `inference.Infer`) tells, asked again where that can help.

        `timeout_s` None: that of the options; inf: without end. `bounded`: the gateway is told how
        long the call may last. Raises CallError.
        """
        gateways = self._opened()
        of = attrgetter(method)
        metadata = (*self.options.metadata, *trace_metadata())

        def call(gateway: Gateway, left_s: float) -> Any:
            timeout = left_s if bounded and left_s < float("inf") else None
            return of(gateway)(message, timeout=timeout, metadata=metadata)

        course = Course(self.options, timeout_s, self._budget)
        async with aclosing(Talk(gateways, course, request_id, call).words()) as words:
            async for word in words:
                yield word
