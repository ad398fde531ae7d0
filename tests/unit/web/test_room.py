"""Which connections make room for others."""

from __future__ import annotations

import asyncio

import pytest

from modelmora.web import protocol
from tests.unit.gateway.fakes import FakeHall
from tests.unit.web.test_protocol import BODY, CAP_S, Caller, address, hall, post

__all__ = ["address", "hall"]


@pytest.mark.row("F23")
@pytest.mark.parametrize("said", [b"", b"GET / HT", post()[:-3], post(path=b"/health")])
async def test_the_oldest_of_too_many_makes_room(
    said: bytes, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "IDLE", 3)
    callers = [Caller(*await asyncio.open_connection(*address)) for _ in range(3)]
    for caller in callers:
        await caller.says(said)
    if said.endswith(BODY):
        for caller in callers:
            assert (await caller.answer())[0] == 405
    late = Caller(*await asyncio.open_connection(*address))
    await late.says(post())
    assert (await late.answer())[0] == 200
    oldest, *others = callers
    if said and not said.endswith(BODY):
        await oldest.told(503, "busy")
    await oldest.is_ended()
    for caller in others:
        assert not caller.reader.at_eof()
    for caller in (*callers, late):
        caller.writer.close()


async def test_who_waits_for_an_answer_makes_no_room(
    address: tuple[str, int], hall: FakeHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "IDLE", 1)
    hall.blocked = asyncio.Event()
    callers = []
    for number in range(3):
        callers.append(caller := Caller(*await asyncio.open_connection(*address)))
        await caller.says(post())
        async with asyncio.timeout(CAP_S):
            while len(hall.asks) == number:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    hall.blocked.set()
    for caller in callers:
        assert (await caller.answer())[0] == 200
        caller.writer.close()
