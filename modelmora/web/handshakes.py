"""Connections of TLS: those that are still shaking hands are bounded in time and in number."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import structlog

from modelmora.surroundings import connections

log = structlog.get_logger(__name__)
HANDSHAKE_S = 10.0  # who has not finished by then is gone
SHAKING = 1024  # who have not finished, about 60 KB each; the oldest makes room
BURST = 32  # connections that are taken before others have their turn
REST_S = 1.0  # before the next is tried where the machine lets none be taken


class Handshakes:
    """What listens on a socket, and begins `protocol` where hands were shaken.

    The loop's own server has no handle on a connection before that.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext,
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._tls = tls
        self._shaking: dict[asyncio.Task[None], None] = {}
        """The oldest first."""
        self._accepting = asyncio.create_task(self._accept(), name="handshakes")

    def close(self) -> None:
        """Take no more, and end those that are under way."""
        for task in (self._accepting, *self._shaking):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until that is done."""
        await asyncio.gather(self._accepting, *self._shaking, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                for _ in range(BURST):
                    line, _address = await loop.sock_accept(self._listening)
                    self._begin(loop.create_task(self._shake(line)))
            except ConnectionError:
                continue  # it is gone already
            except OSError as error:
                log.warning("no connection is taken", reason=error.strerror)
                await asyncio.sleep(REST_S)
            await asyncio.sleep(0)

    def _begin(self, task: asyncio.Task[None]) -> None:
        self._shaking[task] = None
        task.add_done_callback(lambda _: self._shaking.pop(task, None))
        if len(self._shaking) > connections(SHAKING):
            oldest = next(iter(self._shaking))
            del self._shaking[oldest]
            oldest.cancel()

    async def _shake(self, line: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        line.setblocking(False)
        with suppress(OSError):  # it was ended, or speaks no TLS, or none of ours
            await loop.connect_accepted_socket(
                self._protocol, line, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_S
            )
