"""Those who wait are told where they stand: at once, and again as the line moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import cast

from modelmora.errors import Code, RequestError
from modelmora.scheduling import Position, Scheduler, Work
from modelmora.serving.request import Incoming, Outcomes
from modelmora.text import duration

LOOK_S = 1.0
"""Nobody is told again any sooner."""
MOST_TOLD = 100
"""How many are told again at one look."""
TOLD_AFTER_S = 0.01
"""So much later it is told for the first time: by then all that came with it is in the line, where
it joins groups that start before it. And a record just before the outcome would hold that up."""
SOONEST_MS = 100
_SHARE = 0.2
_MOMENT_S = 0.1


class Line:
    """Looks at the line while anybody waits in it who wants to be told.

    What is told again differs by a fifth at least, so that of one request little is told however
    long it waits: of a line of thousands some forty times.
    """

    def __init__(
        self, scheduler: Scheduler, outcomes: Outcomes, monotonic: Callable[[], float]
    ) -> None:
        self._scheduler = scheduler
        self._outcomes = outcomes
        self._now = monotonic
        self._timer: asyncio.TimerHandle | None = None
        self._new: list[Work] = []
        self._telling: asyncio.TimerHandle | None = None

    @property
    def looks(self) -> bool:
        """Whether anybody waits who is to be told again."""
        return self._timer is not None

    def accepted(self, work: Work, position: Position) -> None:
        """The work is admitted, and stood here when it came; it is told so after a moment.

        Not at all where it has its outcome by then.
        """
        loading = work.group is None and self._scheduler.waits.is_loading(work.model)
        request = cast("Incoming", work.meta)
        request.standing = Position(position.ahead, position.wait_s, loading)
        request.unsaid = partial(self._say, work)
        self._new.append(work)
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TOLD_AFTER_S, self.tell)
        if work.group is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.look)

    def tell(self) -> None:
        """Tell those who have come where they stand behind all that came meanwhile."""
        new, self._new, self._telling = self._new, [], None
        now, waits = self._now(), self._scheduler.waits
        for key in {work.model for work in new if work.group is None}:
            for work, position in waits.line(key, now):
                if cast("Incoming", work.meta).unsaid:
                    cast("Incoming", work.meta).standing = position
        for work in new:
            if say := cast("Incoming", work.meta).unsaid:
                say()

    def look(self) -> None:
        """Tell those again who stand elsewhere by now, the first in line first."""
        self._timer = None
        left, waiting = MOST_TOLD, False
        for work, position in self._scheduler.waits.standing(self._now()):
            told = cast("Incoming", work.meta).standing
            if told is None:
                continue
            waiting = True
            if cast("Incoming", work.meta).unsaid:
                continue
            if left and _differs(told, position):
                left -= 1
                cast("Incoming", work.meta).standing = position
                self._say(work)
        if waiting:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.look)

    def close(self) -> None:
        """Look no more until another waits."""
        for timer in (self._timer, self._telling):
            if timer:
                timer.cancel()
        self._timer = self._telling = None
        self._new = []

    def _say(self, work: Work) -> None:
        request = cast("Incoming", work.meta)
        request.unsaid = None
        if request.standing and not request.ended:
            self._outcomes.accepted(request, work.model, request.standing)


def busy(position: Position, left_s: float) -> RequestError | None:
    """What to refuse a request with that is not expected to start within so many seconds.

    It may be asked again when the line is so much shorter that it would. None where it has the
    time, where nobody knows, and where its time is over, so that it expires.
    """
    wait_s = position.wait_s
    if wait_s is None or left_s <= 0 or wait_s <= left_s:
        return None
    wait, left = duration(1000 * wait_s), duration(1000 * left_s)
    message = f"it would start in {wait}, and has {left}; ask again later, or allow more time"
    retry_after_ms = max(SOONEST_MS, ceil(1000 * (wait_s - left_s)))
    return RequestError(Code.BUSY, message, retry_after_ms=retry_after_ms)


def _differs(told: Position, now: Position) -> bool:
    """Whether it is worth telling."""
    if told.loading != now.loading or (told.wait_s is None) != (now.wait_s is None):
        return True
    was_s, is_s = told.wait_s or 0.0, now.wait_s or 0.0
    return (
        abs(told.ahead - now.ahead) > _SHARE * max(told.ahead, now.ahead)
        or abs(was_s - is_s) > _SHARE * max(was_s, is_s) + _MOMENT_S
    )
