"""The body of an HTTP request: known to be JSON, read within its limits, unpacked."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from modelmora.errors import Code
from modelmora.gateway.doors import tellings
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.text import printable, shorten
from modelmora.web.problems import DoorCode

BODY_S = 60.0  # from the head of a request to the last byte of its body
PIECE_BYTES = 64 * 1024
WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
SHOWN = 60
Found = TypeVar("Found")
Check = Callable[[Headers], None]


class Bodies:
    """Reads the bodies of a door's requests, each at most `limit` bytes, packed and unpacked.

    `check` says whether one is of a type that is taken; it raises Refusal.
    """

    def __init__(
        self, hall: Hall, metrics: Metrics, door: str, limit: int, check: Check | None = None
    ) -> None:
        self.hall = hall
        self._metrics = metrics
        self._door = door
        self._limit = limit
        self._check = check or only_json

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytearray]:
        """The body of this request, held by the hall; what is refused within is counted.

        Raises Refusal, ClientDisconnect.
        """
        body = _Body(self.hall, request, self._limit, self._check)
        try:
            yield await body.read()
        except Refusal as refusal:
            self._metrics.refused(self._door, refusal.code)
            raise
        finally:
            body.release()


class _Body:
    """One body, held by the hall until `release`."""

    def __init__(self, hall: Hall, request: Request, limit: int, check: Check) -> None:
        self._check = check
        self._hall = hall
        self._request = request
        self._limit = limit
        self._held = 0

    async def read(self) -> bytearray:
        """All of it, unpacked. Raises Refusal, ClientDisconnect."""
        headers = self._request.headers
        self._check(headers)
        unpacker = _unpacker(", ".join(headers.getlist("content-encoding")))
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limit:
            raise self._too_large()
        body, came = bytearray(), 0
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in self._request.stream():
                    came += len(chunk)
                    if came > self._limit:
                        raise self._too_large()
                    for piece in unpacker.feed(chunk) if unpacker else (chunk,):
                        self._take(body, piece)
        except TimeoutError:
            message = f"the body did not come within {BODY_S:.0f} s; send less at once"
            raise Refusal(DoorCode.TOO_SLOW, message) from None
        tellings.whole(self._request.scope)
        if unpacker:
            self._take(body, unpacker.end())
        return body

    def release(self) -> None:
        """Give back what was held."""
        self._hall.release(self._held)
        self._held = 0

    def _take(self, body: bytearray, piece: bytes) -> None:
        if len(body) + len(piece) > self._limit:
            raise self._too_large()
        self._hall.hold(len(piece), len(body) + len(piece))
        self._held += len(piece)
        body += piece

    def _too_large(self) -> Refusal:
        return Refusal(
            Code.TOO_LARGE,
            f"the body has more than {self._limit} bytes; send its inputs in several requests",
        )


class Unpacker:
    """One gzip or zlib stream in small pieces, however much is packed into few bytes."""

    def __init__(self, window: int) -> None:
        self._stream = zlib.decompressobj(window)

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """What these bytes hold, in pieces. Raises Refusal."""
        while packed:
            if self._stream.eof:
                raise _broken("bytes follow its end")
            try:
                yield self._stream.decompress(packed, PIECE_BYTES)
            except zlib.error:
                raise _broken("it cannot be unpacked") from None
            packed = self._stream.unconsumed_tail or self._stream.unused_data

    def end(self) -> bytes:
        """The last of it; raises Refusal where more should have come."""
        rest = self._stream.flush()
        if not self._stream.eof:
            raise _broken("it ends too early")
        return rest


def _broken(how: str) -> Refusal:
    return Refusal(
        Code.INVALID_INPUT, f"the body is not packed as its content-encoding says: {how}"
    )


def media_type(headers: Headers) -> str:
    """What a body says it is, empty where it says nothing."""
    return ", ".join(headers.getlist("content-type")).partition(";")[0].strip().lower()


def only_json(headers: Headers) -> None:
    """Refuse what is no JSON."""
    # Also a defence: what a page may send to any host without asking is never of this type.
    media = media_type(headers)
    kind, _, name = media.partition("/")
    if kind != "application" or not (name == "json" or name.endswith("+json")):
        what = f"content-type {shorten(printable(media), SHOWN)}" if media else "no content-type"
        raise Refusal(
            DoorCode.UNSUPPORTED_MEDIA_TYPE,
            f"{what} is not taken here; send -H 'content-type: application/json'",
        )


def _unpacker(given: str) -> Unpacker | None:
    encoding = given.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in WINDOWS:
        raise Refusal(
            DoorCode.UNSUPPORTED_MEDIA_TYPE,
            f"content-encoding {shorten(printable(encoding), SHOWN)} is not taken here; "
            "gzip and deflate are",
        )
    return Unpacker(WINDOWS[encoding])


async def unless_gone(answer: Awaitable[Found], receive: Receive) -> Found:
    """The hall's answer; a caller that hangs up cancels it (raises ClientDisconnect)."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (a handler always runs in a task)
    watch = asyncio.create_task(_cancel_when_gone(receive, task))
    try:
        return await answer
    except asyncio.CancelledError:
        if watch.done() and not watch.cancelled():
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        watch.cancel()


async def _cancel_when_gone(receive: Receive, task: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
