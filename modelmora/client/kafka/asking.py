"""Requests whose outcomes are awaited: matched by id, bounded in number, time and memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRecord

from modelmora.access.signing import told_as
from modelmora.client.errors import CallError, DeadlineExceeded
from modelmora.errors import Undecodable
from modelmora.kafka.writing.publisher import Answer, Record, Refused, TooLarge, Written
from modelmora.messages import InferenceResult, Source
from modelmora.messages.headers import READ_AT, principal_of
from modelmora.wire import decode_result

Place = tuple[int, int]
"""Partition of `results`, and offset there."""
GRACE_S = 5.0
"""For so long after its time an outcome may come, which says how the request ended."""
MOST_EARLY = 16
"""Outcomes of an id, told as somebody else's, that are kept in mind until the broker has it."""
HELD_BYTES = 64 << 20
"""Of outcomes that nobody has taken yet; of more only their place is known, and read again."""


class AsyncReply:
    """The outcome of one request, once it is there."""

    def __init__(self, request_id: str, waiting: Waiting, asked: Record) -> None:
        self.request_id = request_id
        self._told_as = told_as(asked.headers)
        self._topic = asked.topic
        self._place: Source | None = None
        self._early: dict[Source, Place] = {}
        """Where outcomes lie that came before the broker had told where the request lies."""
        self.written: asyncio.Future[None] = waiting.loop.create_future()
        """Done when the broker has the request."""
        self._waiting = waiting
        self._end: asyncio.Future[InferenceResult | Place] = waiting.loop.create_future()
        self._bytes = 0
        # Who asks for neither is not told of it by the loop.
        for future in (self.written, self._end):
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def done(self) -> bool:
        """Whether the outcome is there, or none will come."""
        return self._end.done()

    async def result(self, timeout_s: float | None = None) -> InferenceResult:
        """The outcome, whatever its status. Raises CallError where there is none.

        That is DeadlineExceeded where none came in the time of the request, or in `timeout_s`,
        after which it may still be asked for.
        """
        try:
            async with asyncio.timeout(timeout_s):
                end = await asyncio.shield(self._end)
                if isinstance(end, InferenceResult):
                    return end
                return await self._waiting.read_again(end)
        except TimeoutError:
            message = f"no outcome within {timeout_s:g} s"
            raise DeadlineExceeded("expired", message, request_id=self.request_id) from None

    def on_written(self, answer: Answer) -> None:
        """What has become of the request's record."""
        if isinstance(answer, Written):
            self._place = Source(self._topic, answer.partition, answer.offset)
            if not self.written.done():
                self.written.set_result(None)
            if early := self._early.get(self._place):
                self._waiting.leave(self)
                self.meet(early, 0)
            self._early.clear()
            return
        if isinstance(answer, TooLarge):
            why = CallError("too_large", "the broker takes no record of this size; send less")
        elif isinstance(answer, Refused):
            why = CallError("forbidden", answer.reason)
        else:
            why = self._waiting.overdue(self)
        self.fail(why)

    def is_of(self, record: ConsumerRecord, result: InferenceResult) -> bool:
        """Whether an outcome is of this request, and not of another's by the same id.

        Also where it is told as somebody else's, if it is that of our own record: then nodes do
        not take our signature.
        """
        if result.request_id != self.request_id:
            return False
        if principal_of(record.headers) in self._told_as:
            return True
        if result.source is None or any(name == READ_AT for name, _ in record.headers):
            return False
        # A node can be faster than the acknowledgement.
        if self._place is None and len(self._early) < MOST_EARLY:
            self._early[result.source] = record.partition, record.offset
        return result.source == self._place

    def meet(self, end: InferenceResult | Place, size: int) -> None:
        """Take the outcome, of which so many bytes are held here."""
        self._bytes = size
        self._end.set_result(end)
        if not self.written.done():
            self.written.set_result(None)

    def fail(self, why: CallError) -> None:
        """No outcome will come."""
        why.request_id = self.request_id
        for future in (self.written, self._end):
            if not future.done():
                future.set_exception(why)
        self._waiting.leave(self)

    def __del__(self) -> None:
        if self._bytes:
            # It may be the garbage collector's thread.
            with contextlib.suppress(RuntimeError):
                self._waiting.loop.call_soon_threadsafe(self._waiting.release, self._bytes)


class Waiting:
    """The replies that are awaited, at most `most`."""

    def __init__(
        self,
        most: int,
        read_again: Callable[[Place], Awaitable[InferenceResult]],
        fault: Callable[[], str],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.read_again = read_again
        self.held = 0
        """Bytes of outcomes that nobody has taken yet."""
        self._fault = fault
        self._room = asyncio.Semaphore(most)
        self._open: dict[bytes, tuple[AsyncReply, asyncio.TimerHandle, float]] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def enter(self, request_id: str, timeout_s: float, asked: Record) -> AsyncReply:
        """A reply to what is asked so that is awaited from now on. Raises CallError.

        `conflict`: this id is awaited already; `busy`: so many are, all that time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._room.acquire()
        except TimeoutError:
            message = f"{len(self)} replies are awaited already; take some first"
            raise CallError("busy", message, request_id=request_id) from None
        key = request_id.encode()
        if key in self._open:
            self._room.release()
            raise CallError("conflict", "this id is awaited already; take a UUID")
        reply = AsyncReply(request_id, self, asked)
        timer = self.loop.call_later(timeout_s + GRACE_S, self._expire, reply)
        self._open[key] = reply, timer, timeout_s
        return reply

    def wanted(self, reply: AsyncReply) -> bool:
        """Whether it is awaited still."""
        return reply.request_id.encode() in self._open

    def take(self, record: ConsumerRecord) -> None:
        """Give an outcome to whoever awaits it; others' are passed over."""
        found = self._open.get(record.key)
        if found is None:
            return
        try:
            result = decode_result(record.value)
        except (Undecodable, ValueError):
            return
        reply, size = found[0], len(record.value)
        if not reply.is_of(record, result):
            return
        self.leave(reply)
        if self.held + size > HELD_BYTES:
            reply.meet((record.partition, record.offset), 0)
            return
        self.held += size
        reply.meet(result, size)

    def release(self, size: int) -> None:
        """So many bytes are held no more."""
        self.held -= size

    def leave(self, reply: AsyncReply) -> None:
        """Await it no more."""
        if found := self._open.pop(reply.request_id.encode(), None):
            found[1].cancel()
            self._room.release()

    def close(self) -> None:
        """Await nothing more."""
        for reply, _, _ in [*self._open.values()]:
            reply.fail(CallError("stopping", "the client was closed before the outcome came"))

    def overdue(self, reply: AsyncReply) -> CallError:
        """Why no outcome will come: its time is over."""
        found = self._open.get(reply.request_id.encode())
        within = f" within {found[2]:g} s" if found else ""
        why = self._fault() or "no node answered, see `modelmora doctor`"
        if not reply.written.done():
            why = self._fault() or "the broker did not acknowledge the request"
        return DeadlineExceeded("expired", f"no outcome{within}: {why}")

    def _expire(self, reply: AsyncReply) -> None:
        reply.fail(self.overdue(reply))
