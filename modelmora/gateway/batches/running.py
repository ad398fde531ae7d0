"""One batch, worked on: its lines asked as jobs, and what comes of them kept part by part."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, BinaryIO, Protocol, TypeVar

import orjson
import structlog

from modelmora.errors import Code
from modelmora.gateway.batches.lines import Line, check, lines, read_line
from modelmora.gateway.batches.register import JSONL, Register, now_ms
from modelmora.gateway.batches.state import KEPT_MS, Batch, Fault, Standing, told
from modelmora.gateway.hall import Ask, Hall
from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.gateway.watching import failed
from modelmora.messages import BatchKind, Lane, ObjectRef, is_transient
from modelmora.web.problems import DoorCode
from modelmora.wire import id_of_name

log = structlog.get_logger(__name__)
Found = TypeVar("Found")
WINDOW = 64
"""Lines that are asked at once."""
PART_LINES = 1000
PART_BYTES = 8 << 20
PART_S = 300.0
"""What a part has at most, and is so much of the work that is done once more at most."""
BEAT_S = 5.0
PAUSE_S = (0.5, 10.0)
LATE_S = 60.0
"""How long after its time an outcome may still come; then no node is there to tell of it."""
MOST_DEAD = 5
"""So often a model that cannot be had is asked."""
_LATER = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers to a body: JSON, with its status."""

    status: int
    body: bytes
    request_id: str


class Paths(Protocol):
    """The paths that lines may ask, which answer as they do to who asks them directly."""

    @property
    def endpoints(self) -> frozenset[str]:
        """Which they are."""

    async def ask(
        self, hall: Hall, endpoint: str, body: Any, label: str, bound: Callable[[Ask], Ask]
    ) -> Answer:
        """The answer; each request that it takes is `bound`, and has an id that begins with label.

        Raises Refusal.
        """

    def refused(self, refusal: Refusal) -> Answer:
        """How a refusal is told."""


class Running:
    """Works on a batch in the name of its principal, which is the caller of this context."""

    def __init__(
        self, hall: Hall, register: Register, paths: Paths, batch: Batch, most: int
    ) -> None:
        """`most`: bytes of a line."""
        self._hall = hall
        self._register = register
        self._paths = paths
        self._batch = batch
        self._most = most
        self._ids: set[str] = set()
        """Of the requests that are under way."""
        self._done = batch.kept
        self._new = batch.total is None
        """Whether no gateway before can have asked what is asked now."""

    async def run(self) -> None:
        """To its end."""
        beating = asyncio.create_task(self._beat())
        try:
            with tempfile.TemporaryFile() as file:
                await self._work(file)
        except Refusal as refusal:
            fault = Fault(str(refusal.code), refusal.message)
            await self._end(self._over() or Standing.FAILED, fault)
        finally:
            beating.cancel()

    async def _work(self, file: BinaryIO) -> None:
        await self._patiently(
            lambda: self._fetch(file),
            lambda refusal, tries: not self._over() and _mends(refusal, tries),
        )
        if self._batch.total is None:
            total, faults = await asyncio.to_thread(check, file, self._most, self._batch.endpoint)
            if faults:
                await self._end(Standing.FAILED, *faults)
                return
            await self._tell(BatchKind.BEGUN, lambda now: now.total is not None, total=total)
        file.seek(0)
        found = lines(file, self._most)
        while await self._part(found):
            pass
        await self._end(self._over() or Standing.COMPLETED)

    async def _fetch(self, file: BinaryIO) -> None:
        """Have the input here, where it is read as slowly as lines are answered."""
        file.seek(0)
        file.truncate()
        async for piece in self._hall.shelf.chunks(self._batch.input):
            await asyncio.to_thread(file.write, piece)

    # Parts ---------------------------------------------------------------------------------------

    async def _part(self, found: Iterator[tuple[int, bytes]]) -> bool:
        """Answer some lines more and keep what came of them; whether there may be others."""
        until = asyncio.get_running_loop().time() + PART_S
        part = _Part(self._batch.next)
        flying: deque[asyncio.Task[_Answered]] = deque()
        began, more = 0, True
        try:
            while more or flying:
                while more and len(flying) < WINDOW:
                    full = began >= PART_LINES or part.size >= PART_BYTES
                    if full or (began and asyncio.get_running_loop().time() >= until):
                        break
                    number, raw = next(found, (0, b""))
                    if not number:
                        more = False
                    elif number > self._batch.next:
                        began += 1
                        flying.append(asyncio.create_task(self._line(number, raw)))
                if not flying:
                    break
                answered = await flying[0]
                flying.popleft()
                part.add(answered)
                good, bad = self._done
                self._done = (good + answered.good, bad + (not answered.good))
        finally:
            for task in flying:
                task.cancel()
        if began:
            await self._keep(part)
        return more

    async def _keep(self, part: _Part) -> None:
        expires_at = self._batch.created_at + KEPT_MS
        kept: dict[str, list[ObjectRef]] = {}
        for name, content in (("outputs", part.outputs), ("errors", part.errors)):
            put = partial(self._hall.shelf.keep, bytes(content), JSONL, expires_at)
            full = [content] if content else []
            kept[name] = [await self._patiently(put, self._in_time) for _ in full]
        completed, failed = self._done
        await self._tell(
            BatchKind.PART,
            lambda now: now.next >= part.last,
            next=part.last,
            completed=completed,
            failed=failed,
            **kept,
        )
        self._new = True

    # Lines ---------------------------------------------------------------------------------------

    async def _line(self, number: int, raw: bytes) -> _Answered:
        """What comes of a line, sooner or later."""
        line = read_line(number, raw, self._batch.endpoint)
        turn, tries, new = 0, 0, self._new
        while True:
            if over := self._over():
                return _unanswered(line, over)
            mine: set[str] = set()
            try:
                bound = partial(self._bound, mine=mine, new=new)
                return _answered(line, await self._ask(line, f"{number}-{turn}", bound))
            except Refusal as refusal:
                over, tries = self._over(), tries + 1
                if over and refusal.code in (Code.CANCELLED, Code.EXPIRED):
                    return _unanswered(line, over)
                gone = refusal.code is DoorCode.GONE  # it has ended, longer ago than is kept
                if not (gone or _mends(refusal, tries)):
                    return _answered(line, self._paths.refused(refusal))
                # What has ended so would end so again; what was not written, may be yet.
                ended = gone or isinstance(refusal.code, Code)
                turn, new = (turn + 1, new) if ended else (turn, False)
                pause_s = _pause_s(refusal, tries)
            except Exception:
                log.exception("a line of a batch failed", batch=self._batch.id, line=number)
                return _answered(line, self._paths.refused(failed()))
            finally:
                self._ids -= mine
            await asyncio.sleep(pause_s)

    async def _ask(self, line: Line, label: str, bound: Callable[[Ask], Ask]) -> Answer:
        """The answer. Raises Refusal, also where the time is over and no node says so."""
        left_s = (self._batch.expires_at - now_ms()) / 1000
        try:
            async with asyncio.timeout(left_s + LATE_S) as limit:
                return await self._paths.ask(
                    self._hall, self._batch.endpoint, line.body, label, bound
                )
        except TimeoutError:
            if not limit.expired():
                raise
            raise Refusal(Code.EXPIRED, "the time of the batch is over") from None

    def _bound(self, ask: Ask, *, mine: set[str], new: bool) -> Ask:
        """The request as a job on the low lane, by an id that any gateway can make of it again."""
        request_id = id_of_name(f"{self._batch.id} {ask.request_id}", self._batch.ids_at)
        mine.add(request_id)
        self._ids.add(request_id)
        return replace(
            ask,
            door="batches",
            lane=Lane.LOW,
            request_id=request_id,
            timeout_ms=max(1, self._batch.expires_at - now_ms()),
            job=True,
            new=new,
        )

    def _over(self) -> Standing | None:
        """Whether no line is to be begun any more."""
        if self._register.ledger.batches[self._batch.id].cancelled_at is not None:
            return Standing.CANCELLED
        return Standing.EXPIRED if now_ms() >= self._batch.expires_at else None

    def _in_time(self, _refusal: Refusal, _tries: int) -> bool:
        return now_ms() < self._batch.expires_at

    async def _patiently(
        self, work: Callable[[], Awaitable[Found]], mends: Callable[[Refusal, int], bool]
    ) -> Found:
        """Do it, again and again while that may help. Raises Refusal."""
        tries = 0
        while True:
            try:
                return await work()
            except Refusal as refusal:
                tries += 1
                if not mends(refusal, tries):
                    raise
                pause_s = _pause_s(refusal, tries)
            await asyncio.sleep(pause_s)

    # What is told --------------------------------------------------------------------------------

    async def _end(self, end: Standing, *faults: Fault) -> None:
        await self._tell(
            BatchKind.ENDED, lambda now: now.end is not None, end=end, faults=list(faults)
        )

    async def _tell(self, kind: BatchKind, seen: Callable[[Batch], bool], **details: Any) -> None:
        """Have it told, however long that takes, and the batch as it is by then."""
        name, ledger = self._batch.id, self._register.ledger
        tell = partial(
            self._register.tell,
            name,
            kind,
            lambda: seen(ledger.batches[name]),
            gateway=self._batch.driver,
            term=self._batch.term,
            details=told(**details),
        )
        await self._patiently(tell, lambda *_: True)
        self._batch = ledger.batches[name]

    async def _beat(self) -> None:
        """Tell now and then that it is worked on, and take back what runs once it is cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            completed, failed = self._done
            with suppress(Refusal):
                await self._register.tell(
                    self._batch.id,
                    BatchKind.BEAT,
                    gateway=self._batch.driver,
                    term=self._batch.term,
                    details=told(completed=completed, failed=failed),
                )
            if self._over() is Standing.CANCELLED:
                taking = (self._hall.cancel(each) for each in [*self._ids])
                await asyncio.gather(*taking, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Answered:
    """A line of one of both files."""

    number: int
    text: bytes
    good: bool


class _Part:
    """What came of some lines, in their order."""

    def __init__(self, last: int) -> None:
        self.last = last
        """The line behind which nothing is in it."""
        self.outputs = bytearray()
        self.errors = bytearray()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.outputs) + len(self.errors)

    def add(self, answered: _Answered) -> None:
        """Take the next."""
        self.last = answered.number
        (self.outputs if answered.good else self.errors).extend(answered.text)


def _answered(line: Line, answer: Answer) -> _Answered:
    response = {
        "status_code": answer.status,
        "request_id": answer.request_id,
        "body": orjson.Fragment(answer.body),
    }
    return _told(line, answer.status == HTTPStatus.OK, response=response, error=None)


def _unanswered(line: Line, over: Standing) -> _Answered:
    words = {
        Standing.CANCELLED: "the batch was cancelled before this request had ended",
        Standing.EXPIRED: "the time of the batch was over before this request had ended",
    }
    error = {"code": f"batch_{over}", "message": words[over]}
    return _told(line, good=False, response=None, error=error)


def _told(line: Line, good: bool, **what: Any) -> _Answered:
    text = {"id": f"batch_req_{line.number}", "custom_id": line.custom_id, **what}
    return _Answered(line.number, orjson.dumps(text, option=orjson.OPT_APPEND_NEWLINE), good)


def _mends(refusal: Refusal, tries: int) -> bool:
    """Whether a later try may have what this one was refused."""
    if isinstance(refusal.code, Code) and is_transient(refusal.code) and tries >= MOST_DEAD:
        return False
    return answer_of(refusal.code).http in _LATER


def _pause_s(refusal: Refusal, tries: int) -> float:
    shortest, longest = PAUSE_S
    told_s = (refusal.retry_after_ms or 0) / 1000
    wanted_s = max(told_s, shortest * float(2 ** min(tries, 10)))
    return min(wanted_s, longest) * random.uniform(0.5, 1)  # noqa: S311
