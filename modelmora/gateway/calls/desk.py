"""The desk: jobs written, found again on any gateway, watched, and taken back."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from modelmora.gateway.caller import caller
from modelmora.gateway.calls.jobs import Card, Job
from modelmora.gateway.calls.replies import Replies
from modelmora.gateway.calls.requests import content_of
from modelmora.gateway.calls.waiting import End, WaitingRoom, taken
from modelmora.gateway.calls.writing import Writer
from modelmora.gateway.hall import Course
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.watching import MOST_WAITING, QUIET_S
from modelmora.kafka.reading.lookback import LookBackFailed
from modelmora.kafka.requests import nothing
from modelmora.kafka.writing.publisher import Record
from modelmora.messages import InferenceResult, JobRecord, ProgressEvent, Status
from modelmora.messages.headers import ASKED_SINCE, CONTENT, JOB, REPLY_PARTITION
from modelmora.web.problems import DoorCode
from modelmora.wire import encode_job

MOST_KNOWN = 10_000
LOOK_S = 30.0  # what is remembered of an unfinished job for longer is looked up anew
CANCEL_S = 2.0  # a job that is taken back has ended by then, or runs to its end


class Desk:
    """Jobs by id. What it remembers is a copy of what the topics tell: any gateway can say it.

    `stored` reads the outcome of an id once more.
    """

    def __init__(
        self,
        topic: str,
        replies: Replies,
        writer: Writer,
        stored: Callable[[str, str], Awaitable[InferenceResult | None]],
        room: WaitingRoom,
    ) -> None:
        self._topic = topic
        self._replies = replies
        self._writer = writer
        self._stored = stored
        self._room = room
        self._cards: OrderedDict[bytes, Card] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def get(self, key: bytes | None) -> Card | None:
        """The job of that id, if it is known here."""
        return self._cards.get(key) if key else None

    async def submit(
        self,
        request_id: str | None,
        principal: str,
        model: str,
        record: Callable[[str], Record],
        course: Course | None = None,
        *,
        new: bool = False,
    ) -> Job:
        """Write the job that `record` makes of its id, unless it is there. Raises Refusal.

        One that is `new` is not looked for; `course` is told where it is there.
        """
        if request_id is None:
            minted, partition = await self._replies.mint()
            try:
                return await self._submit(minted, partition, _now_ms(), principal, model, record)
            except BaseException:  # nobody will ask for it by this id
                self._writer.cancel(minted, principal)
                raise
        turn = self._turns.setdefault(request_id, asyncio.Lock())
        async with turn:
            looked_ms = _now_ms()
            card, partition = await self._look(request_id, back=not new)
            if card.principal is not None:
                content = content_of(record(request_id), principal)
                if card.principal != principal or card.content not in ("", content):
                    raise taken(request_id)
                if course:
                    course.spared = True
                return card.job()
            # Without a note it is ours to go on with only where a gateway of ours died at it.
            if card.told_of not in (None, (principal, True)):
                raise taken(request_id)
            return await self._submit(request_id, partition, looked_ms, principal, model, record)

    async def _submit(
        self,
        request_id: str,
        partition: int,
        looked_ms: int,
        principal: str,
        model: str,
        make: Callable[[str], Record],
    ) -> Job:
        """The request first: what is noted has surely been asked."""
        card, record = self._card(request_id), make(request_id)
        card.asker = principal
        if card.told is None:  # else a gateway died between the two
            ours = ((REPLY_PARTITION, b"%d" % partition), (JOB, b"1"))
            since = (ASKED_SINCE, b"%d" % looked_ms)
            record.headers = (*record.headers, *ours, since)
            await self._writer.write(record)
        note = JobRecord(request_id, principal, model, looked_ms)
        content = content_of(record, principal)
        noted = Record(self._topic, request_id.encode(), encode_job(note), nothing)
        noted.headers = ((CONTENT, content.encode()),)
        await self._writer.write(noted)
        card.looked_at = asyncio.get_running_loop().time()
        card.note(note, content)
        return card.job()

    async def carry_out(
        self,
        request_id: str,
        principal: str,
        model: str,
        record: Callable[[str], Record],
        course: Course,
        *,
        new: bool,
    ) -> InferenceResult:
        """Submit a job and wait for its outcome, as it passes. Leaving it leaves the job alone.

        Raises Refusal.
        """
        loop = asyncio.get_running_loop()
        waiting, _ = self._room.enter(request_id, principal)
        waiting.sent_at = loop.time()
        reader: asyncio.Future[End] = loop.create_future()
        waiting.callers.append(reader)
        try:
            job = await self.submit(request_id, principal, model, record, course, new=new)
            while not (reader.done() or job.state.ended):
                await asyncio.wait({reader}, timeout=LOOK_S)
                if not reader.done():
                    job = (await self._find(request_id)).job()
        finally:
            self._room.leave(waiting, reader)
        end = reader.result() if reader.done() else await self.outcome(request_id)
        if isinstance(end, Refusal):
            raise end
        return end

    async def watch(self, request_id: str) -> AsyncGenerator[Job | ProgressEvent | None]:
        """How it stands, what is told of it, and last how it ended; None after each silence."""
        card = await self._find(request_id)
        queue: asyncio.Queue[ProgressEvent | None] = asyncio.Queue()
        with _listening(card, queue):
            yield card.job()
            if card.end:
                return
            while not card.end:
                try:
                    async with asyncio.timeout(QUIET_S):
                        event = await queue.get()
                except TimeoutError:
                    yield None
                    await self._find(request_id)
                    continue
                if event:
                    yield event
            yield card.job()

    async def outcome(self, request_id: str) -> InferenceResult:
        """The completed result of a job. Raises Refusal."""
        principal = caller.get()
        card = await self._find(request_id)
        job = card.job()
        if card.end is None or job.held_until is None:
            raise Refusal(
                DoorCode.NOT_FINISHED, "the job has not ended; ask later", request_id=request_id
            )
        if card.end.status is not Status.COMPLETED and job.error:
            raise Refusal(job.error.code, job.error.message, request_id=request_id)
        result = None
        if _now_ms() <= job.held_until:
            result = await self._stored(request_id, principal)
        if result is None:
            message = "the job has ended, and its result is kept no longer; submit it anew"
            raise Refusal(DoorCode.GONE, message, request_id=request_id)
        return result

    async def cancel(self, request_id: str) -> Job:
        """See to it that a job does not run on, and tell how it stands then. Raises Refusal."""
        card = await self._find(request_id)
        queue: asyncio.Queue[ProgressEvent | None] = asyncio.Queue()
        with _listening(card, queue):
            if not card.end:
                self._writer.cancel(request_id, caller.get())
            try:
                async with asyncio.timeout(CANCEL_S):
                    while not card.end:
                        await queue.get()
            except TimeoutError:
                pass
        return card.job()

    async def _find(self, request_id: str) -> Card:
        """The caller's job of that id, as it stands by now. Raises Refusal."""
        card = self.get(request_id.encode())
        now = asyncio.get_running_loop().time()
        if card is None or (card.end is None and now - card.looked_at > LOOK_S):
            card, _ = await self._look(request_id)
        if card.principal is None and not card.listeners:
            self._cards.pop(request_id.encode(), None)
        if card.principal != caller.get():
            message = "there is no such job, or it was longer ago than is kept"
            raise Refusal(DoorCode.NOT_FOUND, message)
        return card

    async def _look(self, request_id: str, *, back: bool = True) -> tuple[Card, int]:
        """What the topics tell of that id by now, and its partition. Raises Refusal."""
        card, replies = self._card(request_id), self._replies
        try:
            partition = await (replies.find_job if back else replies.join_of)(request_id)
        except LookBackFailed:
            message = "the broker does not tell of jobs now; ask again a little later"
            raise Refusal(DoorCode.BROKER_UNREACHABLE, message, request_id=request_id) from None
        card.looked_at = asyncio.get_running_loop().time()
        return card, partition

    def _card(self, request_id: str) -> Card:
        key = request_id.encode()
        card = self._cards.setdefault(key, Card())
        self._cards.move_to_end(key)
        if len(self._cards) > MOST_KNOWN:
            oldest = next((k for k, each in self._cards.items() if not each.listeners), key)
            if oldest != key:
                del self._cards[oldest]
        return card


@contextmanager
def _listening(card: Card, queue: asyncio.Queue[ProgressEvent | None]) -> Iterator[None]:
    def hear(event: ProgressEvent | None) -> None:
        if event is None or queue.qsize() < MOST_WAITING:
            queue.put_nowait(event)

    card.listeners.append(hear)
    try:
        yield
    finally:
        card.listeners.remove(hear)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
