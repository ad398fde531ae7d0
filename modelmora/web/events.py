"""Server-sent events as a response of ours: never stored, and closed however it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

EVENTS = "text/event-stream"
QUIET = b": it is still computed\n\n"
"""A comment, by which nobody takes a silent stream for a dead one."""


class Events(StreamingResponse):
    """Sends what a generator yields, and closes it also where its caller is gone by then."""

    def __init__(
        self, events: AsyncGenerator[bytes], headers: Mapping[str, str] | None = None
    ) -> None:
        told = {"cache-control": "no-store", **(headers or {})}
        super().__init__(events, media_type=EVENTS, headers=told)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


def event(data: bytes, name: str = "") -> bytes:
    """One event; `data` is one line."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + data + b"\n\n"
