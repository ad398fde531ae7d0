"""The node's side of a child's socket: bytes to frames, and the end of who lies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from modelmora.workers import protocol
from modelmora.workers.protocol import FrameReader, Kind, ProtocolError


class Channel(asyncio.BufferedProtocol):
    """Receives a child's frames and hands them on; the loop's side of the socket."""

    def __init__(
        self, take: Callable[[Kind, memoryview], None], lied: Callable[[str], None]
    ) -> None:
        self._take = take
        self._lied = lied
        self._reader = FrameReader(protocol.TO_NODE)
        self._transport: asyncio.BaseTransport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has the socket."""
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Room for the loop to receive into."""
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes arrived; a broken rule ends the child."""
        self._reader.received(nbytes)
        try:
            for kind, body in self._reader.frames():
                self._take(kind, body)
        except ProtocolError as error:
            self._lied(str(error))
            # Nothing more is read, so nothing more is buffered.
            cast("asyncio.Transport", self._transport).abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The child closed its socket, or ended."""
        if not self.closed.done():
            self.closed.set_result(None)
