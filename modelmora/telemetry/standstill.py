"""Sees from a thread of its own whether the loop stands still, says where, and ends the process."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)
LOOK_S = 0.5
SUSPICIOUS_LOOKS = 4
FRAMES = 20
LAST_WORDS_S = 2.0
WINDOW_S = 60.0
"""The longest wait is told for so long at least, and for twice as long at most."""


class Standstill:
    """Asks the loop that it was made on for an answer, twice a second, until that is closed.

    Where the answer stays away, the line that the loop stands on is logged; after `limit_s` `end`
    is called, which is to end the process at once: nothing on the loop can be stopped.
    """

    def __init__(self, limit_s: float, end: Callable[[], object]) -> None:
        self._limit_s = limit_s
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._answered = threading.Event()
        self._asked_at = 0.0
        self._longest_s = self._before_s = 0.0
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="standstill", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def longest_s(self) -> float:
        """The longest wait for the loop of the last minute or two (s), for all who ask."""
        return max(self._longest_s, self._before_s)

    def _run(self) -> None:
        while not self._loop.is_closed():
            self._answered.clear()
            self._asked_at = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # closed just now
                return
            self._wait()
            time.sleep(LOOK_S)

    def _answer(self) -> None:
        now = time.monotonic()
        if now - self._since >= WINDOW_S:
            self._since, self._before_s, self._longest_s = now, self._longest_s, 0.0
        self._longest_s = max(self._longest_s, now - self._asked_at)
        self._answered.set()

    def _wait(self) -> None:
        """Wait for the answer.

        What counts is how often this thread has looked in vain, not the clock: a process that was
        frozen as a whole has not seen its loop stand still.
        """
        looks = 0
        while not self._answered.wait(LOOK_S) and not self._loop.is_closed():
            looks += 1
            if looks * LOOK_S >= self._limit_s:
                reason = f"its loop stands still for {looks * LOOK_S:g} s"
                self._say(log.error, "the process ends", reason=reason)
                self._end()
                return
            if looks == SUSPICIOUS_LOOKS:
                self._say(log.warning, "the loop stands still")

    def _say(self, tell: Callable[..., object], what: str, **facts: str) -> None:
        """Log it with the frames of the loop's thread, innermost last.

        Not waited for: what the loop stands in may be a write to the log.
        """
        frames = traceback.extract_stack(sys._current_frames()[self._watched], FRAMES)
        at = [f"{each.filename}:{each.lineno} {each.name}" for each in frames]
        line = threading.Thread(target=tell, args=(what,), kwargs=facts | {"at": at}, daemon=True)
        line.start()
        line.join(LAST_WORDS_S)
