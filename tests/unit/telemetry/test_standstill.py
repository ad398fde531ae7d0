"""A loop that stands still is seen by a thread, a process that was frozen is not blamed."""

from __future__ import annotations

import threading
import time
from itertools import count
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from modelmora.telemetry import standstill
from modelmora.telemetry.standstill import LOOK_S, Standstill
from tests.topics import until

CAP_S = 60


async def test_the_line_it_stands_on_is_told_and_the_end_called() -> None:
    ended = threading.Event()
    watch = Standstill(2.5, ended.set)
    with capture_logs() as lines:
        watch.start()
        assert ended.wait(CAP_S)  # on the loop: this is what it stands in
    warned, told = lines
    assert warned["event"] == "the loop stands still"
    assert told["reason"] == "its loop stands still for 2.5 s"
    assert any(__file__ in frame and "told_and_the_end" in frame for frame in told["at"])
    await until(lambda: watch.longest_s() > 0)


async def test_a_loop_that_answers_after_a_leap_of_the_clock_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after SIGSTOP and SIGCONT, or a virtual machine that was paused."""
    ended = threading.Event()
    leaps = count(step=1000.0)
    clock = SimpleNamespace(monotonic=lambda: next(leaps), sleep=time.sleep)
    monkeypatch.setattr(standstill, "time", clock)
    watch = Standstill(LOOK_S, ended.set)
    watch.start()
    for _ in range(3):
        await until(lambda: watch.longest_s() > 0)
    assert not ended.is_set()


async def test_a_log_that_takes_nothing_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()
    released = threading.Event()
    monkeypatch.setattr(standstill, "LAST_WORDS_S", 0.1)
    mute = SimpleNamespace(error=lambda *_, **__: released.wait(CAP_S))
    monkeypatch.setattr(standstill, "log", mute)
    Standstill(LOOK_S, ended.set).start()
    assert ended.wait(CAP_S)
    released.set()
