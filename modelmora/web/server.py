"""Serves an ASGI app with uvicorn inside a loop that runs already, signals left alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn

from modelmora import addresses
from modelmora.errors import ConfigurationError
from modelmora.web.handshakes import Handshakes
from modelmora.web.protocol import Protocol

BACKLOG = 2048
SILENT_S = 60  # a caller whose machine says nothing for so long, or takes nothing, is gone


class _Server(uvicorn.Server):
    """uvicorn's server, which neither takes signals nor hides when it has started."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = []
        loop = asyncio.get_running_loop()
        for each in sockets or ():
            self.servers.append(
                Handshakes(each, self._protocol, self._tls)  # type: ignore[arg-type]
                if self._tls
                else await loop.create_server(self._protocol, sock=each, backlog=BACKLOG)
            )
        self.started = True
        self.listening.set()

    def _protocol(self) -> Protocol:
        """What speaks with one caller."""
        state = self.lifespan.state
        return Protocol(config=self.config, server_state=self.server_state, app_state=state)


class HttpServer:
    """One app on one address; `port` 0 lets the system choose, `tls` encrypts."""

    def __init__(self, app: Any, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._port = port
        self._server = _Server(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
            ),
            tls,
        )
        self.scheme = "https" if tls else "http"
        self.task: asyncio.Task[None] | None = None
        """Ends with the server."""

    async def start(self) -> tuple[str, int]:
        """Listen; the bound host and port. Raises ConfigurationError when it cannot be had."""
        listening = self._bind()
        host, port = listening.getsockname()[:2]
        self.task = asyncio.create_task(self._server.serve([listening]), name="http")
        started = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait((self.task, started), return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            started.cancel()
            await self.task
        return str(host), int(port)

    async def stop(self, grace_s: float = 2.0) -> None:
        """Stop listening; requests under way have `grace_s` to end."""
        if self.task is None:
            return
        self._server.config.timeout_graceful_shutdown = grace_s  # type: ignore[assignment]
        self._server.should_exit = True
        await self.task

    def _bind(self) -> socket.socket:
        listening = socket.socket(addresses.family(self._host), socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _notice_silence(listening)
            listening.bind((self._host, self._port))
            listening.listen(BACKLOG)
            listening.setblocking(False)
        except OSError as error:
            listening.close()
            where = addresses.join(self._host, self._port)
            raise ConfigurationError(
                f"{where} cannot be listened on ({error.strerror}); choose another port"
            ) from None
        return listening


def _notice_silence(listening: socket.socket) -> None:
    """Have its connections end that nobody is on the other side of, or nobody reads from."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", SILENT_S // 2),
        ("TCP_KEEPINTVL", max(1, SILENT_S // 6)),
        ("TCP_USER_TIMEOUT", SILENT_S * 1000),
    ):
        if hasattr(socket, option):
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
