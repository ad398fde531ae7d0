"""Handshakes of TLS, bounded in time and number; what follows them is not lost, on either loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from modelmora.access.certificates import Certificates
from modelmora.settings import TlsSettings
from modelmora.web import handshakes
from modelmora.web.server import HttpServer
from tests.authorities import Authority

ASKED = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
CAP_S = 60
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.SelectorEventLoop, uvloop.Loop]


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


class Served:
    """A server over TLS, and whom to trust there."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        pair = authority.server()
        own = Certificates(TlsSettings(certfile=pair.certfile, keyfile=pair.keyfile))
        self.trusting = ssl.create_default_context(cafile=authority.file)
        app = Starlette(routes=[Route("/", echo, methods=["POST"])])
        self.server = HttpServer(app, "127.0.0.1", 0, own.context())
        self.port = 0

    async def silent(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Somebody who connects, and says nothing."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def asked(self) -> bytes:
        """The answer to a request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trusting)
        writer.write(ASKED)
        told = await reader.read()
        writer.close()
        return told


Scene = Callable[[Served], Coroutine[Any, Any, None]]


def played(scene: Scene, folder: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Play a scene on a loop of its own."""

    async def run() -> None:
        served = Served(folder)
        _, served.port = await served.server.start()
        async with asyncio.timeout(CAP_S):
            await scene(served)
            await served.server.stop(0.1)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scene], None]:
    return lambda scene: played(scene, tmp_path, request.param)


def test_requests_are_answered(play: Callable[[Scene], None]) -> None:
    async def scene(served: Served) -> None:
        told = await asyncio.gather(*(served.asked() for _ in range(20)))
        assert all(each.startswith(b"HTTP/1.1 200") and each.endswith(b"hello") for each in told)

    play(scene)


def test_a_request_that_comes_with_the_end_of_the_handshake(play: Callable[[Scene], None]) -> None:
    """Both in one packet, so that it is there before anybody knows that hands are shaken."""

    async def scene(served: Served) -> None:
        reader, writer = await served.silent()
        came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = served.trusting.wrap_bio(came, goes, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(goes.read())
                came.write(await reader.read(65_536))
        tls.write(ASKED)
        writer.write(goes.read())
        told = b""
        while b"hello" not in told:
            try:
                told += tls.read()
            except ssl.SSLWantReadError:
                piece = await reader.read(65_536)
                assert piece, told
                came.write(piece)
        assert told.startswith(b"HTTP/1.1 200")
        writer.close()

    play(scene)


def test_who_says_nothing_is_not_waited_for(
    play: Callable[[Scene], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "HANDSHAKE_S", 0.2)

    async def scene(served: Served) -> None:
        reader, writer = await served.silent()
        assert await reader.read() == b""
        writer.close()

    play(scene)


def test_the_oldest_of_too_many_that_say_nothing_makes_room(
    play: Callable[[Scene], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "SHAKING", 3)
    monkeypatch.setattr(handshakes, "HANDSHAKE_S", 10 * CAP_S)

    async def scene(served: Served) -> None:
        callers = [await served.silent() for _ in range(3)]
        for _ in range(2):
            assert (await served.asked()).endswith(b"hello")
        oldest, *others = callers
        assert await oldest[0].read() == b""
        assert not any(reader.at_eof() for reader, _ in others)
        for _, writer in callers:
            writer.close()

    play(scene)
