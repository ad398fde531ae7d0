"""The loop in a thread of its own: what comes as it ends, and what comes in between."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from modelmora.client import CallError
from modelmora.client.loop import Loop

CAP_S = 30


async def nothing() -> int:
    return 1


def test_what_is_begun_as_the_loop_ends_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Loop()
    hand_over = asyncio.run_coroutine_threadsafe
    closing = threading.Thread(target=mine.close)

    def slowly(work: Any, at: asyncio.AbstractEventLoop) -> Future[Any]:
        closing.start()
        closing.join(0.2)
        return hand_over(work, at)

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "run_coroutine_threadsafe", slowly)
        begun = mine.run(nothing())
    assert begun.result(CAP_S) == 1
    closing.join(CAP_S)
    with pytest.raises(CallError, match="closed"):
        mine.wait(nothing())


def test_a_stream_collected_while_work_is_begun_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = Loop()
    assert mine.wait(nothing()) == 1
    begun = mine._begun
    inner: list[int | None] = []

    def collecting() -> Any:
        if not inner:
            inner.append(None)
            mine.run(nothing())
        return begun()

    monkeypatch.setattr(mine, "_begun", collecting)
    asking = threading.Thread(target=lambda: inner.append(mine.wait(nothing())), daemon=True)
    asking.start()
    asking.join(CAP_S)
    assert inner == [None, 1]
    mine.close()
