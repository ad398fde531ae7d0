"""The HTTP server inside a loop."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from modelmora.errors import ConfigurationError
from modelmora.web.server import HttpServer


async def hello(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def test_serves_on_a_port_of_the_systems_choice_and_leaves_signals_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    server = HttpServer(Starlette(routes=[Route("/", hello)]), "127.0.0.1", 0)
    host, port = await server.start()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        assert (await client.get("/")).text == "hello"
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_requests_under_way_may_end() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> PlainTextResponse:
        entered.set()
        await release.wait()
        return PlainTextResponse("done")

    server = HttpServer(Starlette(routes=[Route("/", slow)]), "127.0.0.1", 0)
    host, port = await server.start()
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        asking = asyncio.create_task(client.get("/"))
        await entered.wait()
        stopping = asyncio.create_task(server.stop(30))
        release.set()
        assert (await asking).text == "done"
        await stopping


async def test_a_taken_port_is_told() -> None:
    app = Starlette()
    first = HttpServer(app, "127.0.0.1", 0)
    _, port = await first.start()
    try:
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} cannot be listened on"):
            await HttpServer(app, "127.0.0.1", port).start()
    finally:
        await first.stop()


async def test_stop_before_start_is_nothing() -> None:
    await HttpServer(Starlette(), "127.0.0.1", 0).stop()
