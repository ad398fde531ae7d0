"""A consumer that does not end holds nobody up."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from modelmora.kafka.reading import closing, lookback
from modelmora.kafka.reading.lookback import LookBack, LookBackFailed
from modelmora.settings import Settings


class Hanging:
    """A consumer that cannot connect, and then waits for a task that was not to be cancelled."""

    free: asyncio.Event

    def __init__(self, **_: object) -> None:
        self.stopped = 0
        self._client = self

    async def close(self) -> None:
        """As of the client inside."""

    async def start(self) -> None:
        raise OSError("no broker")

    async def stop(self) -> None:
        self.stopped += 1
        while not self.free.is_set():
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                continue  # as a task does that swallows it


@pytest.fixture
async def hanging(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[type[Hanging]]:
    Hanging.free = asyncio.Event()
    monkeypatch.setattr(closing, "CLOSE_S", 0.02)
    yield Hanging
    Hanging.free.set()
    await asyncio.gather(*closing._closing)


async def test_a_consumer_that_does_not_end_is_left_to_itself(hanging: type[Hanging]) -> None:
    consumer = hanging()
    await closing.close(consumer)
    assert consumer.stopped == 1


async def test_what_is_looked_for_fails_though_the_consumer_hangs(
    hanging: type[Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookback, "AIOKafkaConsumer", hanging)
    back = LookBack(Settings(bootstrap_servers="127.0.0.1:1"), "t.results", lambda _: None)
    for _ in range(2):
        with pytest.raises(LookBackFailed):
            await asyncio.wait_for(back.search("an id", 0, 1), 30)
    await back.stop()


async def test_while_looking_back_fails_all_who_come_share_a_pass_and_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes: list[int] = []

    async def fails(_: LookBack, searches: list[object]) -> None:
        passes.append(len(searches))
        raise OSError("no broker")

    monkeypatch.setattr(LookBack, "_pass", fails)
    back = LookBack(Settings(bootstrap_servers="127.0.0.1:1"), "t.results", lambda _: None)
    with capture_logs() as logged:
        with pytest.raises(LookBackFailed):
            await back.search("the first", 0, 1)
        others: list[asyncio.Task[None]] = []
        for number in range(9):
            others.append(asyncio.create_task(back.search(f"{number}", 0, 1)))
            await asyncio.sleep(0)
        told = await asyncio.gather(*others, return_exceptions=True)
    await back.stop()
    assert {type(each) for each in told} == {LookBackFailed}
    assert passes == [1, 9]
    assert len(logged) == 1


async def test_a_failed_search_is_forgotten_without_the_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(_: LookBack, __: list[object]) -> None:
        raise OSError("no broker")

    async def told() -> weakref.ref[LookBackFailed]:
        try:
            await back.search("an id", 0, 1)
        except LookBackFailed as error:
            return weakref.ref(error)
        raise AssertionError

    monkeypatch.setattr(LookBack, "_pass", fails)
    back = LookBack(Settings(bootstrap_servers="127.0.0.1:1"), "t.results", lambda _: None)
    gc.disable()  # as good as off in a node
    try:
        first, _ = await told(), await told()
        assert first() is None
    finally:
        gc.enable()
        await back.stop()
