"""Odd callers of one connection, byte by byte."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from modelmora.gateway.doors.rest import reading
from modelmora.gateway.doors.rest.routes import JSON_OVER_RECORD, create_app
from modelmora.gateway.metrics import Metrics
from modelmora.web import protocol, server
from modelmora.web.server import HttpServer
from tests.programs import eventually
from tests.unit.gateway.fakes import FakeHall

CAP_S = 60
LIMIT = 100_000
BODY_LIMIT = LIMIT * JSON_OVER_RECORD
BODY = b'{"inputs":"x"}'
JSON = b"Host: x\r\nContent-Type: application/json\r\n"


def post(body: bytes = BODY, *more: bytes, path: bytes = b"/infer/echo") -> bytes:
    head = b"POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n" % (path, JSON, len(body))
    return head + b"".join(field + b"\r\n" for field in more) + b"\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    head = b"POST /infer/echo HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n" % JSON
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


class Caller:
    """One connection, and what came back on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(CAP_S):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines if line)
            length = 0 if head else int(fields.get("content-length", 0))
            return int(first.split()[1]), fields, await self.reader.readexactly(length)

    async def told(self, status: int, code: str) -> None:
        found, fields, body = await self.answer()
        assert (found, json.loads(body)["code"]) == (status, code)
        assert fields["content-type"] == "application/problem+json"

    async def is_ended(self) -> None:
        async with asyncio.timeout(CAP_S):
            assert await self.reader.read() == b""


@pytest.fixture
def hall() -> FakeHall:
    return FakeHall(limit=1 << 30)


@pytest.fixture
async def address(hall: FakeHall) -> AsyncIterator[tuple[str, int]]:
    door = HttpServer(create_app(hall, Metrics(), LIMIT), "127.0.0.1", 0)
    try:
        yield await door.start()
    finally:
        await door.stop(0.1)


@pytest.fixture
async def caller(address: tuple[str, int]) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection(*address)
    yield Caller(reader, writer)
    writer.close()


async def test_requests_in_a_row_are_answered_in_a_row(caller: Caller) -> None:
    bodies = [json.dumps({"inputs": str(number)}).encode() for number in range(5)]
    await caller.says(b"".join(post(body) for body in bodies))
    for number in range(5):
        assert json.loads((await caller.answer())[2])["outputs"] == [str(number)]


async def test_requests_in_a_row_are_bounded(caller: Caller) -> None:
    await caller.says(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 3 * protocol.WAITING)
    for _ in range(1 + protocol.WAITING):
        assert (await caller.answer())[0] == 200
    await caller.is_ended()


async def test_nonsense_behind_a_request_does_not_take_its_answer(caller: Caller) -> None:
    await caller.says(post() + b"nonsense\x00\r\n\r\n")
    assert (await caller.answer())[0] == 200
    await caller.is_ended()


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",  # HTTP/2
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        post(BODY, b"Transfer-Encoding: chunked"),
        post(BODY, b"Content-Length: 15"),
        chunked() + b"no length\r\n",
    ],
)
async def test_what_is_no_http_is_told_so(said: bytes, caller: Caller) -> None:
    await caller.says(said)
    await caller.told(400, "malformed")
    await caller.is_ended()


@pytest.mark.parametrize(
    "said",
    [
        b"GET /health HTTP/1.1\r\nX: " + b"a" * 9 * protocol.HEAD_BYTES,
        b"GET /health HTTP/1.1\r\n" + b"X: a\r\n" * protocol.HEAD_BYTES,
        b"GET /" + b"a" * 9 * protocol.HEAD_BYTES,
        chunked(BODY) + b"0\r\n" + b"X: a\r\n" * protocol.HEAD_BYTES,
        chunked(BODY) + b"0\r\nX: " + b"a" * 9 * protocol.HEAD_BYTES,
        b"\r\n" * protocol.HEAD_BYTES,
    ],
)
async def test_heads_and_trailers_are_bounded(said: bytes, caller: Caller) -> None:
    await caller.says(said)
    await caller.told(431, "head_too_large")
    await caller.is_ended()


async def test_http_1_0_is_answered_and_ended(caller: Caller) -> None:
    await caller.says(post().replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: x\r\n", b""))
    status, fields, _ = await caller.answer()
    assert (status, fields["connection"]) == (200, "close")
    await caller.is_ended()


async def test_an_offer_of_another_protocol_is_declined(caller: Caller) -> None:
    """Java's client offers h2c, with the body of the same request behind it."""
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAE")
    await caller.says(post(BODY, *offer) * 2)
    for _ in range(2):
        assert (await caller.answer())[0] == 200
    await caller.says(post(b"", b"Connection: Upgrade", b"Upgrade: websocket", path=b"/health"))
    assert (await caller.answer())[0] == 405
    await caller.says(post(BODY, *offer)[:-5])
    await caller.says(BODY[-5:])
    assert (await caller.answer())[0] == 200


WHOLE = [
    post(),
    post(BODY, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA"),
    post(gzip.compress(BODY), b"Content-Encoding: gzip"),
    chunked(BODY[:3], BODY[3:]) + b"0\r\nX-Trailer: y\r\n\r\n",
    b"\r\n" + post(),
    post(BODY, b"Expect: a miracle"),
]


@pytest.mark.parametrize("said", WHOLE)
async def test_a_request_means_the_same_byte_by_byte(
    said: bytes, caller: Caller, hall: FakeHall
) -> None:
    caller.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(2):
        await caller.says(*(bytes([byte]) for byte in said))
        status, _, body = await caller.answer()
        assert (status, json.loads(body)["outputs"]) == (200, ["x"])
    assert [ask.inputs for ask in hall.asks] == [("x",)] * 2


async def test_a_body_that_is_expected_is_asked_for(caller: Caller) -> None:
    said = post(BODY, b"Expect: 100-continue")
    await caller.says(said[: -len(BODY)])
    assert (await caller.answer())[0] == 100
    await caller.says(BODY)
    assert (await caller.answer())[0] == 200


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(
    caller: Caller, hall: FakeHall
) -> None:
    head = b"POST /infer/echo HTTP/1.1\r\n%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    await caller.says(head % (JSON, BODY_LIMIT + 1))
    await caller.told(413, "too_large")
    await caller.is_ended()
    assert hall.held == 0


@pytest.mark.parametrize(
    "said",
    [
        post(b"x" * 10 * BODY_LIMIT),
        chunked(*(b"x" * 65_536 for _ in range(BODY_LIMIT // 6_553))),
        post(gzip.compress(b"x" * 20 * BODY_LIMIT), b"Content-Encoding: gzip"),
        post(zlib.compress(b"x" * 20 * BODY_LIMIT), b"Content-Encoding: deflate"),
        post(b"x" * 10 * BODY_LIMIT, path=b"/nowhere"),
    ],
)
async def test_who_sends_too_much_can_read_why(said: bytes, caller: Caller, hall: FakeHall) -> None:
    """All of it is sent before a byte of the answer is read."""
    sent = asyncio.create_task(caller.says(said))
    async with asyncio.timeout(CAP_S):
        await asyncio.wait([sent])
    assert (await caller.answer())[0] in (413, 404)
    sent.exception()
    assert hall.held == 0


PACKS: dict[bytes, Any] = {
    b"Content-Encoding: gzip": gzip.compress,
    b"Content-Encoding: Deflate": zlib.compress,
}


@pytest.mark.parametrize("encoding", PACKS)
async def test_packed_bodies_are_unpacked(encoding: bytes, caller: Caller, hall: FakeHall) -> None:
    text = "é" * 50_000
    packed = PACKS[encoding](json.dumps({"inputs": text}).encode())
    await caller.says(post(packed, encoding))
    assert (await caller.answer())[0] == 200
    assert hall.asks[0].inputs == (text,)


BROKEN: list[Callable[[bytes], bytes]] = [
    lambda packed: packed[:-1],
    lambda packed: packed + b"x",
    lambda packed: packed * 2,
    lambda packed: packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:],
    lambda _: b"x",
    lambda _: b"",
]


@pytest.mark.parametrize("encoding", PACKS)
@pytest.mark.parametrize("damage", BROKEN)
async def test_badly_packed_bodies_are_told(
    damage: Callable[[bytes], bytes], encoding: bytes, caller: Caller, hall: FakeHall
) -> None:
    await caller.says(post(damage(PACKS[encoding](BODY)), encoding))
    await caller.told(400, "invalid_input")
    assert not hall.asks
    assert hall.held == 0


@pytest.mark.parametrize(
    "field",
    [
        b"Content-Encoding: br",
        b"Content-Encoding: gzip, gzip",
        b"Content-Encoding: gzip\r\nContent-Encoding: gzip",
        b"Content-Type: text/plain",
        b"Content-Type: application/json\r\nContent-Type: text/plain",
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Type: application/jsonp",
        b"X: no type",
    ],
)
async def test_other_forms_of_a_body_are_refused(field: bytes, caller: Caller) -> None:
    said = post(BODY, field)
    if b"Encoding" not in field:
        said = said.replace(b"Content-Type: application/json\r\n", b"", 1)
    await caller.says(said)
    status, fields, body = await caller.answer()
    assert (status, json.loads(body)["code"]) == (415, "unsupported_media_type")
    assert fields["accept-encoding"] == "gzip, deflate"
    assert fields["accept"] == "application/json"


@pytest.mark.parametrize(
    "kind", [b"application/json; charset=utf-8", b"Application/JSON", b"application/x+json"]
)
async def test_json_by_its_other_names_is_taken(kind: bytes, caller: Caller) -> None:
    await caller.says(post().replace(b"application/json", kind, 1))
    assert (await caller.answer())[0] == 200


async def test_who_ends_its_side_after_a_request_is_answered(
    caller: Caller, hall: FakeHall
) -> None:
    hall.blocked = asyncio.Event()
    await caller.says(post())
    caller.writer.write_eof()
    assert (await caller.answer())[0] == 102  # is it there?
    hall.blocked.set()
    status = 102
    while status == 102:
        status, _, body = await caller.answer()
    assert (status, json.loads(body)["outputs"]) == (200, ["x"])
    await caller.is_ended()


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_who_asks_and_ends_at_once_is_answered(version: bytes, caller: Caller) -> None:
    await caller.says(b"GET /health/live %s\r\nHost: x\r\n\r\n" % version)
    caller.writer.write_eof()
    assert (await caller.answer())[2] == b'{"live":true}'
    await caller.is_ended()


@pytest.mark.parametrize("reset", [False, True])
async def test_who_is_gone_cancels(reset: bool, caller: Caller, hall: FakeHall) -> None:
    hall.blocked = asyncio.Event()
    await caller.says(post())
    async with asyncio.timeout(CAP_S):
        await hall.entered.wait()
        if reset:
            caller.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )
        caller.writer.close()
        await hall.gone.wait()


async def test_who_ends_within_a_body_asks_nothing(caller: Caller, hall: FakeHall) -> None:
    await caller.says(post()[:-3])
    caller.writer.write_eof()
    await caller.is_ended()
    assert not hall.asks
    assert hall.held == 0


async def test_a_body_that_does_not_come_is_waited_for_no_longer(
    caller: Caller, hall: FakeHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BODY_S", 0.05)
    await caller.says(post()[:-3])
    await caller.told(408, "too_slow")
    await caller.is_ended()
    assert hall.held == 0


@pytest.mark.parametrize("said", [b"", b"\r\n", b"GET /health", b"GET / HTTP/1.1\r\nX: a\r\n"])
async def test_a_head_that_does_not_come_is_waited_for_no_longer(
    said: bytes, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.05)
    caller = Caller(*await asyncio.open_connection(*address))
    await caller.says(said)
    if said.strip():
        await caller.told(408, "too_slow")
    await caller.is_ended()
    caller.writer.close()


async def test_who_reads_nothing_is_cut_off(
    hall: FakeHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENT_S", 2)
    hall.outputs = ("x" * 40_000_000,)
    door = HttpServer(create_app(hall, Metrics(), LIMIT), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*await door.start())
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(post())
    async with asyncio.timeout(CAP_S):
        await hall.entered.wait()
        open_ = door._server.server_state.connections
        await asyncio.to_thread(eventually, lambda: not open_, "the end of the connection")
    writer.close()
    await door.stop()
