"""Requests whose callers wait: written once, answered once, cancelled when nobody waits."""

from __future__ import annotations

import asyncio

import structlog

from modelmora.gateway.hall import Ask, Heard
from modelmora.gateway.lookback import LookBackFailed
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.replies import Replies
from modelmora.gateway.requests import record_of
from modelmora.gateway.waiting import End, Waiting, WaitingRoom, overdue, taken, unreachable
from modelmora.gateway.writing import ACKNOWLEDGE_S, Writer, too_large
from modelmora.kafka.writing.publisher import Answer, Record, TooLarge
from modelmora.messages import InferenceResult
from modelmora.messages.headers import REPLY_PARTITION
from modelmora.settings import Settings
from modelmora.telemetry.logs import bind_request

log = structlog.get_logger(__name__)
GRACE_S = 1.0  # the node's own EXPIRED is given this long to arrive
LINGER_S = 10.0  # so long after a request's time its cancel may still be of use


class Asking:
    """From an ask to how it ended, over the waiting room."""

    def __init__(
        self,
        settings: Settings,
        gateway_id: str,
        room: WaitingRoom,
        replies: Replies,
        writer: Writer,
    ) -> None:
        self._settings = settings
        self._gateway_id = gateway_id
        self._room = room
        self._replies = replies
        self._writer = writer

    async def wait(self, ask: Ask, heard: Heard | None) -> End:
        """How an admitted request ended; raises Refusal. Cancelling the call cancels it."""
        loop = asyncio.get_running_loop()
        request_id, partition = ask.request_id, None
        if request_id is None:
            request_id, partition = await self._replies.mint()
        bind_request(request_id, ask.principal, ask.traceparent)
        waiting, new = self._room.enter(request_id, ask.principal)
        caller: asyncio.Future[End] = loop.create_future()
        waiting.callers.append(caller)
        if heard:
            waiting.listeners.append(heard)
        timeout_ms = ask.timeout_ms or self._settings.timing.request_timeout_ms
        wait_s = timeout_ms / 1000 + GRACE_S
        try:
            if new:
                waiting.allowed_s = timeout_ms / 1000
                record = record_of(request_id, ask, self._settings, self._gateway_id)
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
            return caller.result()
        finally:
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
        """Send the request of a caller's own id, unless its outcome exists already."""
        request_id = waiting.request_id
        try:
            partition = await self._replies.find(request_id)
            if waiting.found:
                self._room.settle(waiting, waiting.found)
            elif waiting.foreign:
                self._room.settle(waiting, taken(request_id))
            elif waiting.under_way:  # asked of a gateway that is gone, perhaps
                waiting.sent_at = asyncio.get_running_loop().time()
            elif not waiting.settled:
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
        """Tell the nodes that nobody waits, where they may know of it."""
        if waiting.sent_at is None:
            return
        loop = asyncio.get_running_loop()
        # Until the request is written nobody knows when it expires: it may be long from now.
        self._writer.cancel(
            waiting.request_id,
            waiting.principal,
            lambda: waiting.expires_at is None or loop.time() < waiting.expires_at,
        )
