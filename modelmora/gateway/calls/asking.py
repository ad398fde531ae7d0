"""Requests whose callers wait: written once, answered once, cancelled when nobody waits."""

from __future__ import annotations

import asyncio
import time

import structlog

from modelmora.gateway.calls.replies import Replies
from modelmora.gateway.calls.requests import Requests, content_of
from modelmora.gateway.calls.waiting import (
    End,
    Waiting,
    WaitingRoom,
    mistaken,
    overdue,
    taken,
    unreachable,
)
from modelmora.gateway.calls.writing import ACKNOWLEDGE_S, Writer, too_large
from modelmora.gateway.hall import Ask, Heard
from modelmora.gateway.outcomes import Refusal
from modelmora.kafka.reading.lookback import LookBackFailed
from modelmora.kafka.writing.publisher import Answer, Record, TooLarge, Written
from modelmora.messages import InferenceResult, Source, is_final
from modelmora.messages.headers import ASKED_SINCE, REPLY_PARTITION
from modelmora.settings import Settings
from modelmora.telemetry.logs import bind_request
from modelmora.wire import NEAR_MS

log = structlog.get_logger(__name__)
APART_S = 0.002  # the broker tells times in milliseconds
GRACE_S = 1.0  # the node's own EXPIRED is given this long to arrive
LINGER_S = 10.0  # so long after a request's time its cancel may still be of use


class Asking:
    """From an ask to how it ended, over the waiting room."""

    def __init__(
        self,
        settings: Settings,
        gateway_id: str,
        requests: Requests,
        room: WaitingRoom,
        replies: Replies,
        writer: Writer,
    ) -> None:
        self._settings = settings
        self._gateway_id = gateway_id
        self._requests = requests
        self._room = room
        self._replies = replies
        self._writer = writer
        self._leaving: dict[str, asyncio.Future[None]] = {}
        """The ids whose requests are taken back, until the broker has that."""

    async def wait(self, ask: Ask, heard: Heard | None) -> End:
        """How an admitted request ended; raises Refusal. Cancelling the call cancels it."""
        loop = asyncio.get_running_loop()
        request_id, partition = ask.request_id, None
        if request_id is None:
            request_id, partition = await self._replies.mint()
        bind_request(request_id, ask.principal, ask.traceparent)
        record = self._requests.record(request_id, ask)
        content = "" if partition is not None else content_of(record, ask.principal)
        waiting, new = self._room.enter(request_id, ask.principal, content)
        caller: asyncio.Future[End] = loop.create_future()
        waiting.callers.append(caller)
        if heard:
            waiting.listeners.append(heard)
        timeout_ms = ask.timeout_ms or self._settings.timing.request_timeout_ms
        wait_s = timeout_ms / 1000 + GRACE_S
        try:
            if new:
                waiting.allowed_s = timeout_ms / 1000
                if partition is None:
                    waiting.opening = loop.create_task(self._open(waiting, record))
                else:
                    self._send(waiting, record, partition)
            await asyncio.wait({caller}, timeout=wait_s)
            if not caller.done():
                # It may lie there unread: this process may have stood still, or the broker.
                known = await self._replies.read_all()
                if not caller.done():
                    return waiting.found or overdue(waiting, known)
            if waiting.read:
                ask.course.on_outcome(waiting.read)
            return caller.result()
        finally:
            ask.course.spared = not (new and waiting.is_own(caller))
            if heard:
                waiting.listeners.remove(heard)
            if self._room.leave(waiting, caller):
                self.cancel(waiting)

    async def stored(self, request_id: str, principal: str) -> InferenceResult | None:
        """The outcome of an id that has one, read once more; None where it is gone by now."""
        waiting, _ = self._room.enter(request_id, principal)
        loop = asyncio.get_running_loop()
        reader: asyncio.Future[End] = loop.create_future()
        waiting.callers.append(reader)
        try:
            await self._replies.find(request_id)
            waiting.sent_at = loop.time()
            if waiting.found:
                self._room.settle(waiting, waiting.found)
            # Of an end it may be noted a moment before the outcome is there.
            await asyncio.wait({reader}, timeout=ACKNOWLEDGE_S)
        except LookBackFailed:
            raise unreachable(request_id) from None
        finally:
            self._room.leave(waiting, reader)
        end = reader.result() if reader.done() else None
        return end if isinstance(end, InferenceResult) else None

    async def _open(self, waiting: Waiting, record: Record) -> None:
        """Send the request of a caller's own id, unless it has an outcome that stands.

        Where it is under way it is written again all the same: the node sees which came first.
        """
        request_id = waiting.request_id
        try:
            if leaving := self._leaving.get(request_id):
                await asyncio.shield(leaving)
                await asyncio.sleep(APART_S)
            looked_ms = int(time.time() * 1000)
            partition = await self._replies.find(request_id)
            found = waiting.found
            if waiting.foreign or waiting.others:
                self._room.settle(waiting, taken(request_id))
            elif found and is_final(found.error):
                self._room.settle(waiting, found)
            elif not waiting.settled:
                # An older time than a near one has the node look for what was found here.
                since_ms = waiting.found_ms - NEAR_MS - 1 if found else looked_ms
                since = (ASKED_SINCE, b"%d" % since_ms)
                record.headers = (*record.headers, since)
                self._send(waiting, record, partition)
        except Refusal as refusal:
            self._room.settle(waiting, refusal)
        except Exception as error:  # noqa: BLE001 - a caller waits for it
            log.warning("look-up failed", request_id=request_id, error=repr(error))
            self._room.settle(waiting, unreachable(request_id))

    def _send(self, waiting: Waiting, record: Record, partition: int) -> None:
        loop = asyncio.get_running_loop()

        def decided(answer: Answer) -> None:
            waiting.expires_at = loop.time() + waiting.allowed_s + LINGER_S
            if waiting.unacknowledged:
                waiting.unacknowledged.cancel()
            if isinstance(answer, Written):
                waiting.place = Source(record.topic, answer.partition, answer.offset)
                own = [each for each in waiting.early if waiting.ends(each, "")]
                for each in own:
                    self._room.settle(waiting, each)
                if whose := waiting.taken_for.get(waiting.place):
                    self._room.settle(waiting, mistaken(waiting.request_id, whose))
            if waiting.taken_back:
                self._take_back(waiting)
            if isinstance(answer, TooLarge):
                size = len(record.value or b"")
                self._room.settle(waiting, too_large(size, waiting.request_id))

        record.headers = (*record.headers, (REPLY_PARTITION, str(partition).encode()))
        self._writer.send(record, decided)
        waiting.sent_at = loop.time()
        waiting.unacknowledged = loop.call_later(
            ACKNOWLEDGE_S, self._give_up, waiting, record.topic
        )

    def _give_up(self, waiting: Waiting, topic: str) -> None:
        # The record may still be written, when the broker is back; so may the cancel behind it.
        if not waiting.settled:
            self._writer.silent.add(topic)
            self._room.settle(waiting, unreachable(waiting.request_id))
            self.cancel(waiting)

    def cancel(self, waiting: Waiting) -> None:
        """Tell the nodes that nobody waits, where they may know of it.

        Behind the request, for a cancel is for what was there before it.
        """
        if waiting.sent_at is None:
            return
        request_id = waiting.request_id
        if request_id not in self._leaving:
            self._leaving[request_id] = asyncio.get_running_loop().create_future()
        waiting.taken_back = True
        if waiting.expires_at is not None:
            self._take_back(waiting)

    def _take_back(self, waiting: Waiting) -> None:
        expires_at, loop = waiting.expires_at or 0.0, asyncio.get_running_loop()

        def decided(_: Answer) -> None:
            leaving = self._leaving.pop(waiting.request_id, None)
            if leaving and not leaving.done():
                leaving.set_result(None)

        self._writer.cancel(
            waiting.request_id,
            waiting.principal,
            self._gateway_id,
            lambda: loop.time() < expires_at,
            decided,
        )
