"""Damaged conversations: nothing of them stays, and nothing of ours breaks."""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
from typing import Any

import pytest

from modelmora.gateway.doors.rest import reading
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.web.server import HttpServer
from tests.programs import eventually
from tests.unit.gateway.fakes import FakeHall

CONVERSATIONS = 400
AT_ONCE = 20
pytestmark = pytest.mark.no_cover
BODY = b'{"inputs":"x","parameters":{"a":1}}'
PACKED = gzip.compress(BODY)
FIELDS = b"Host: x\r\nContent-Type: application/json\r\n"
POST = b"POST /infer/echo HTTP/1.1\r\n" + FIELDS
SAID = [
    POST + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    POST + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(BODY), BODY),
    POST
    + b"Expect: 100-continue\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
    % (len(PACKED), PACKED),
    b"GET /docs HTTP/1.0\r\n\r\n",
    b"HEAD /models/ HTTP/1.1\r\nHost: x\r\n\r\n",
]
SPLINTERS = [b"\r\n", b"\r\n\r\n", b":", b" ", b"\0", b"Content-Length: 5\r\n", b"Upgrade: x\r\n"]


def damaged(chance: random.Random) -> bytes:
    """One to three requests in a row, a few of their bytes changed."""
    said = bytearray(b"".join(chance.choices(SAID, k=chance.randint(1, 3))))
    for _ in range(chance.randint(0, 4)):
        start = chance.randrange(len(said))
        end = start + chance.randint(0, 20)
        piece = chance.choice([b"", chance.choice(SPLINTERS), chance.randbytes(3), said[start:end]])
        said[start : chance.choice([start, end])] = piece
    return bytes(said)


async def talk(address: tuple[str, int], chance: random.Random) -> None:
    """Say it in pieces, and end in one of the ways in which callers end."""
    reader, writer = await asyncio.open_connection(*address)
    said = damaged(chance)
    try:
        while said:
            size = chance.choice([1, 7, 50, 5000])
            writer.write(said[:size])
            said = said[size:]
            await writer.drain()
        ending = chance.choice([writer.write_eof, writer.transport.abort, writer.close])
        ending()
        if ending == writer.write_eof:
            answer = await reader.read()
            assert not answer or answer.startswith(b"HTTP/1.1 ")
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.mark.parametrize("seed", range(2))
async def test_damaged_conversations_leave_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "BODY_S", 0.5)
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    hall, chance = FakeHall(limit=1 << 30), random.Random(seed)
    door = HttpServer(create_app(hall, Metrics(), 100_000), "127.0.0.1", 0)
    address = await door.start()
    async with asyncio.timeout(120):
        for _ in range(CONVERSATIONS // AT_ONCE):
            await asyncio.gather(*(talk(address, chance) for _ in range(AT_ONCE)))
        open_ = door._server.server_state.connections
        await asyncio.to_thread(eventually, lambda: not open_, "the end of all connections")
    await door.stop()
    assert hall.asks
    assert hall.held == 0
    assert broken == []
    assert [each.message for each in caplog.records if each.levelno >= logging.ERROR] == []
