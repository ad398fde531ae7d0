"""Looks at whole topics: in turn, for a bounded time, and told as callers can use it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from modelmora.errors import (
    Code,
    ConfigurationError,
    ModelMoraError,
    NotAllowed,
    NotFound,
    Unreachable,
    WrongCredentials,
)
from modelmora.gateway.cluster import looks
from modelmora.gateway.cluster.looks import MOST_WAITING, Look, Looks
from modelmora.gateway.outcomes import AnyCode, Refusal
from modelmora.settings import Settings
from modelmora.web.problems import DoorCode

CAP_S = 60
NOBODY = Settings(bootstrap_servers="127.0.0.1:1")


async def code_of(all_of_them: Looks, work: Callable[[Look], object]) -> AnyCode:
    with pytest.raises(Refusal) as caught:
        await all_of_them.look(work)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), DoorCode.NOT_FOUND),
        (ConfigurationError("x"), Code.INVALID_INPUT),
        (NotAllowed("x"), DoorCode.REFUSED),
        (Unreachable("x"), DoorCode.BROKER_UNREACHABLE),
        (WrongCredentials("x"), DoorCode.BROKER_UNREACHABLE),
        (ModelMoraError("x"), DoorCode.CONFLICT),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_what_a_look_ends_with_is_told(error: ModelMoraError, code: AnyCode) -> None:
    def work(_: Look) -> None:
        raise error

    assert await code_of(Looks(NOBODY), work) is code


async def test_one_looks_at_a_time_and_few_wait() -> None:
    all_of_them = Looks(NOBODY)
    go, begun, now, most = threading.Event(), threading.Event(), 0, 0

    def work(_: Look) -> None:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        begun.set()
        assert go.wait(CAP_S)
        now -= 1

    waiting = [asyncio.create_task(all_of_them.look(work)) for _ in range(MOST_WAITING + 1)]
    assert await asyncio.to_thread(begun.wait, CAP_S)
    assert await code_of(all_of_them, work) is Code.BUSY
    go.set()
    await asyncio.gather(*waiting)
    assert most == 1


async def test_a_look_ends_when_its_caller_goes_or_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    all_of_them, begun = Looks(NOBODY), threading.Event()

    def work(look: Look) -> None:
        begun.set()
        while True:
            look._poll(1)

    gone = asyncio.create_task(all_of_them.look(work))
    assert await asyncio.to_thread(begun.wait, CAP_S)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    async with asyncio.timeout(CAP_S):  # its turn is another's soon
        assert await all_of_them.look(lambda _: 1) == 1
    monkeypatch.setattr(looks, "LOOK_S", 0.0)
    async with asyncio.timeout(CAP_S):
        assert await code_of(all_of_them, work) is Code.EXPIRED


async def test_what_is_begun_is_done_whole_though_its_caller_goes() -> None:
    all_of_them, begun, done = Looks(NOBODY), threading.Event(), threading.Event()
    go = threading.Event()

    def work(look: Look) -> None:
        look.insist()
        begun.set()
        assert go.wait(CAP_S)
        look._poll(1)
        done.set()

    gone = asyncio.create_task(all_of_them.look(work))
    assert await asyncio.to_thread(begun.wait, CAP_S)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    go.set()
    assert await asyncio.to_thread(done.wait, CAP_S)


async def test_nothing_begins_at_a_gateway_that_stops() -> None:
    all_of_them = Looks(NOBODY)
    all_of_them.stop()
    assert await code_of(all_of_them, lambda _: 1) is Code.STOPPING
    assert await code_of(all_of_them, lambda _: 1) is Code.STOPPING
