"""Those who wait are told where they stand: at once, and again as the line moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from modelmora.scheduling import Position, Scheduler, Work
from modelmora.serving.request import Incoming, Outcomes

LOOK_S = 1.0
"""Nobody is told again any sooner."""
MOST_TOLD = 100
"""How many are told again at one look."""
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

    @property
    def looks(self) -> bool:
        """Whether anybody waits who is to be told again."""
        return self._timer is not None

    def accepted(self, work: Work, position: Position) -> None:
        """The work is admitted, and stood here when it came."""
        loading = work.group is None and self._scheduler.waits.is_loading(work.model)
        self._tell(work, Position(position.ahead, position.wait_s, loading))
        if work.group is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.look)

    def look(self) -> None:
        """Tell those again who stand elsewhere by now, the first in line first."""
        self.close()
        left, waiting = MOST_TOLD, False
        for work, position in self._scheduler.waits.standing(self._now()):
            told = cast("Incoming", work.meta).standing
            if told is None:
                continue
            waiting = True
            if left and _differs(told, position):
                left -= 1
                self._tell(work, position)
        if waiting:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.look)

    def close(self) -> None:
        """Look no more until another waits."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _tell(self, work: Work, position: Position) -> None:
        request = cast("Incoming", work.meta)
        request.standing = position
        self._outcomes.accepted(request, work.model, position)


def _differs(told: Position, now: Position) -> bool:
    """Whether it is worth telling."""
    if told.loading != now.loading or (told.wait_s is None) != (now.wait_s is None):
        return True
    was_s, is_s = told.wait_s or 0.0, now.wait_s or 0.0
    return (
        abs(told.ahead - now.ahead) > _SHARE * max(told.ahead, now.ahead)
        or abs(was_s - is_s) > _SHARE * max(was_s, is_s) + _MOMENT_S
    )
