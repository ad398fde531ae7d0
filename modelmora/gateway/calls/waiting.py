"""The requests that callers wait for: ids to futures."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from modelmora.errors import Code
from modelmora.gateway.hall import Heard
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import InferenceResult, ProgressEvent, Source, is_final
from modelmora.web.problems import DoorCode

End = InferenceResult | Refusal
_REMEMBERED = 32
_SOONEST_S, _LATEST_S = 0.1, 60.0


@dataclass(slots=True, eq=False)
class Waiting:
    """One request under way and the callers that wait for it, each with a future of its own."""

    request_id: str
    principal: str
    callers: list[asyncio.Future[End]] = field(default_factory=list)
    listeners: list[Heard] = field(default_factory=list)
    allowed_s: float = 0.0
    """How long the request may take from when the broker has it."""
    sent_at: float | None = None
    expires_at: float | None = None
    """When it ends by itself at the latest (loop time); None until the broker has it."""
    unacknowledged: asyncio.TimerHandle | None = None
    opening: asyncio.Task[None] | None = None
    accepted: ProgressEvent | None = None
    settled: bool = False
    foreign: bool = False
    """Whether the id was met as one of another principal's."""
    content: str = ""
    """What is asked, where the caller brought the id; see `wire.content_digest`."""
    place: Source | None = None
    """Where its record lies, once the broker has told."""
    taken_back: bool = False
    """Whether nodes are to be told that nobody waits, as soon as it is written."""
    read: ConsumerRecord | None = None
    """The record of its outcome, where that came while it was under way."""
    found: InferenceResult | None = None
    """What it ended as, of all that was met while older outcomes are looked for."""
    found_ms: int = 0
    others: bool = False
    """Whether that is the outcome of other content."""
    early: list[InferenceResult] = field(default_factory=list)
    """Outcomes that do not stand for the id, one of which may be of this very request."""
    taken_for: dict[Source, str] = field(default_factory=dict)
    """As whose outcomes were told, by the place of the request, before its own was known."""
    _rank: tuple[int, int, int] = (0, 0, 0)

    def meet(self, result: InferenceResult, content: str, timestamp: int, offset: int) -> None:
        """Take one of its outcomes: the highest run holds, and of one run the first record."""
        rank = -result.run, timestamp, offset
        if result.error and result.error.code is Code.ID_REUSED:
            return  # it says nothing of who had the id first
        if self.found is None or rank < self._rank:
            self.found, self._rank, self.found_ms = result, rank, timestamp
            self.others = self._is_other(content)

    def ends(self, result: InferenceResult, content: str) -> bool:
        """Whether an outcome that comes while it is under way is its own.

        (1) It is not where something else was asked by the same id.
        (2) It is where the id is ours alone, or where the outcome stands, whoever asked.
        (3) Another asker's cancel or deadline is not ours: then it must be of our own record.
        """
        # (1)
        if self._is_other(content):
            return False
        # (2)
        if not self.content or is_final(result.error):
            return True
        # (3)
        if self.place is None:
            self.early.append(result)
        return self.place == result.source

    def is_mistaken(self, result: InferenceResult, principal: str) -> bool:
        """Whether an outcome that is told as somebody else's is that of our own record."""
        if result.source is None:
            return False
        if self.place is None:
            self.taken_for[result.source] = principal
        return result.source == self.place

    def is_own(self, caller: asyncio.Future[End]) -> bool:
        """Whether its own record may have run: it was written, and no other has the outcome."""
        known = caller.done() and not caller.cancelled()
        end = caller.result() if known else None
        foreign = isinstance(end, InferenceResult) and self.place not in (None, end.source)
        return self.sent_at is not None and not foreign

    def _is_other(self, content: str) -> bool:
        return bool(self.content and content) and content != self.content


def taken(request_id: str) -> Refusal:
    """The id is that of another request."""
    message = "this id is that of another request; take a new UUID"
    return Refusal(Code.ID_REUSED, message, request_id=request_id)


def mistaken(request_id: str, principal: str) -> Refusal:
    """Nodes have taken our own record for another principal's."""
    message = (
        f"nodes take it for a request of {principal}, since they cannot check who asks; "
        "its gateway and the nodes need the same access.cluster_secret"
    )
    return Refusal(Code.FORBIDDEN, message, request_id=request_id)


def unreachable(request_id: str) -> Refusal:
    """The request was given up, since the broker does not answer."""
    return Refusal(
        DoorCode.BROKER_UNREACHABLE,
        "the broker does not acknowledge the request; try again a little later",
        request_id=request_id,
    )


def overdue(waiting: Waiting, known: bool) -> Refusal:
    """The caller's time is over; `known`: no outcome lay there by then."""
    if not known:
        message = "the time allowed is over and the broker does not say how it ended; ask again"
        return Refusal(DoorCode.BROKER_UNREACHABLE, message, request_id=waiting.request_id)
    hint = "" if waiting.accepted else "; no node accepted it, see `modelmora doctor`"
    message = f"the time allowed is over{hint}"
    return Refusal(Code.EXPIRED, message, request_id=waiting.request_id)


class Pace:
    """When a place will be free, by how often somebody has left: the latest 32 times."""

    def __init__(self) -> None:
        self._left: deque[float] = deque(maxlen=_REMEMBERED)
        self._refused = 0

    def leave(self, now: float) -> None:
        """Somebody leaves (monotonic s)."""
        self._left.append(now)
        self._refused = 0

    def refuse(self, now: float) -> int | None:
        """In how many ms one more who is refused finds a place, behind those refused before.

        None before two have left. That nobody has left for a while counts too.
        """
        self._refused += 1
        if len(self._left) < 2:
            return None
        first, last = self._left[0], self._left[-1]
        gap_s = max((last - first) / (len(self._left) - 1), now - last)
        return round(1000 * min(max(self._refused * gap_s, _SOONEST_S), _LATEST_S))


class WaitingRoom:
    """All requests under way, at most `limit`; the first end of one is kept."""

    def __init__(self, limit: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._now = monotonic
        self._pace = Pace()
        self._by_id: dict[bytes, Waiting] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, key: bytes | None) -> Waiting | None:
        """The request of that id, if someone waits for it."""
        return self._by_id.get(key) if key else None

    def enter(self, request_id: str, principal: str, content: str = "") -> tuple[Waiting, bool]:
        """The request of that id, and whether it is new here.

        Raises Refusal: `busy`, `id_reused` where it is another's, or of other content.
        """
        key = request_id.encode()
        waiting = self._by_id.get(key)
        if waiting:
            other = content and waiting.content and content != waiting.content
            if waiting.principal != principal or other:
                raise taken(request_id)
            return waiting, False
        if len(self._by_id) >= self._limit:
            raise self.busy(f"{self._limit} requests are waiting here")
        waiting = self._by_id[key] = Waiting(request_id, principal, content=content)
        self._empty.clear()
        return waiting, True

    def busy(self, why: str) -> Refusal:
        """There is no room now; when there will be is an estimate."""
        wait_ms = self._pace.refuse(self._now())
        return Refusal(Code.BUSY, f"{why}; try again a little later", retry_after_ms=wait_ms)

    def settle(self, waiting: Waiting, end: End) -> None:
        """Tell every caller how it ended; later ends of the same request are ignored."""
        if waiting.settled:
            return
        self._close(waiting)
        for caller in waiting.callers:
            if not caller.done():
                caller.set_result(end)

    def leave(self, waiting: Waiting, caller: asyncio.Future[End]) -> bool:
        """One caller waits no longer; true when nobody does and no outcome is known."""
        waiting.callers.remove(caller)
        if waiting.callers or waiting.settled:
            return False
        self._close(waiting)
        return True

    def unaccepted_s(self, now: float) -> float:
        """How old the oldest request is that the broker has and no node has accepted.

        `now` is the loop's time (s); 0 where there is none.
        """
        sent = (each.sent_at for each in self._by_id.values() if not each.accepted and each.place)
        return max((now - at for at in sent if at is not None), default=0.0)

    def all(self) -> tuple[Waiting, ...]:
        """Every request that someone waits for."""
        return tuple(self._by_id.values())

    async def empty(self) -> None:
        """Wait until nobody waits."""
        await self._empty.wait()

    def _close(self, waiting: Waiting) -> None:
        waiting.settled = True
        self._pace.leave(self._now())
        if waiting.unacknowledged:
            waiting.unacknowledged.cancel()
        if waiting.opening:
            waiting.opening.cancel()
        self._by_id.pop(waiting.request_id.encode(), None)
        if not self._by_id:
            self._empty.set()
