"""Many callers over HTTP, each with a connection of its own and one request at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson
import uvloop

_HEAD_ENDS = b"\r\n\r\n"
_LENGTH = b"content-length: "
PATIENCE_S = 120.0


def rate(at: str, path: str, bodies: Iterable[object], callers: int) -> float:
    """Requests a second, the next of `bodies` by whoever is answered. Raises what goes wrong."""
    address = urlsplit(at)
    host, port = address.hostname or "", address.port or 80
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n".encode()
    raw = [orjson.dumps(body) for body in bodies]
    requests = [b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body) for body in raw]
    took_s: float = uvloop.run(_all(host, port, iter(requests), callers))
    return len(requests) / took_s


async def _all(host: str, port: int, requests: Iterator[bytes], callers: int) -> float:
    """Seconds from the first request to the last answer; all are connected by then."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Caller(requests), host, port) for _ in range(callers)
    ]
    began = time.perf_counter()
    for _, caller in made:
        caller.ask()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(caller.done for _, caller in made))
        return time.perf_counter() - began
    finally:
        for transport, _ in made:
            transport.close()


class _Caller(asyncio.Protocol):
    """Reads no more of an answer than how long it is: a measuring client is to cost little."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._got = bytearray()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self) -> None:
        """Send the next request, if there is one."""
        request = next(self._requests, None)
        if request is None:
            self.done.set_result(None)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, ends, body = self._got.partition(_HEAD_ENDS)
        if not ends:
            return
        fields = head.lower()
        if b" 200 " not in head.partition(b"\r\n")[0]:
            self._end(f"a request was answered with {bytes(self._got)!r}")
        elif len(body) == int(fields[fields.index(_LENGTH) + len(_LENGTH) :].partition(b"\r\n")[0]):
            self._got.clear()
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"a connection was lost: {exc}")

    def _end(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(why))
