"""The hall: a caller's request onto the topics, and its outcome from the topics to the caller."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping

import structlog
from aiokafka import ConsumerRecord

from modelmora.errors import Code, RequestError, Undecodable
from modelmora.gateway.hall import STOPPING, Ask, Heard, Wish
from modelmora.gateway.jobs import Job
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.models import Directory
from modelmora.gateway.orders import SHOWN_S, Orders, is_shown
from modelmora.gateway.outcomes import Refusal, refusal_of
from modelmora.gateway.replies import Replies
from modelmora.gateway.requests import CALLER, nothing, record_of
from modelmora.gateway.shelf import Shelf
from modelmora.gateway.waiting import End, Waiting, WaitingRoom
from modelmora.kafka.leases import NodeLease
from modelmora.kafka.orders import Order
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.sizes import check_inputs
from modelmora.kafka.topics import LANE_TOPICS, Topic
from modelmora.kafka.writing.publisher import Answer, Publisher, Record, TooLarge
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    Health,
    InferenceResult,
    ProgressEvent,
    ProgressStage,
    RegistryRecord,
    Status,
)
from modelmora.messages.headers import PRINCIPAL, REPLY_PARTITION
from modelmora.objects import open_objects
from modelmora.settings import Settings
from modelmora.telemetry.logs import bind_request
from modelmora.web.problems import DoorCode
from modelmora.wire import decode_progress, decode_result, encode_control

log = structlog.get_logger(__name__)
ACKNOWLEDGE_S = 2.0  # a produce without answer for so long: the caller is told
GRACE_S = 1.0  # the node's own EXPIRED is given this long to arrive
SMALL = 1 << 16  # bytes of a request for which there is room when large ones find none
LINGER_S = 10.0  # so long after a request's time its cancel may still be of use
NO_NODE = "no node tells that it runs"
FOLLOWED = (Topic.RESULTS, Topic.PROGRESS, Topic.REGISTRY, Topic.CONTROL, Topic.EVENTS)


class Bridge:
    """Implements `hall.Hall` over the topics. All of it runs on one loop.

    A request that ends here without an outcome (its caller gone, its time over, its produce
    given up) is cancelled on `control`, as far as that topic is there to be written to before the
    request expires by itself; that command may reach the nodes before the request.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        schemas: Schemas | None = None,
    ) -> None:
        self.shelf = Shelf(open_objects(settings))
        self._settings = settings
        self._metrics = metrics
        self._topics = {topic: topic.full(settings.namespace) for topic in Topic}
        self._lanes = {self._topics[topic] for topic in LANE_TOPICS.values()}
        self._room = WaitingRoom(settings.limits.gateway_waiting)
        framing = schemas.framing if schemas else None
        self._publisher = Publisher(settings, framing=framing)
        self._pulse = Pulse(settings, [self._topics[topic] for topic in FOLLOWED])
        self._replies = Replies(settings, self._pulse, self._on_result, self._on_progress, schemas)
        self._directory = Directory(settings, self._pulse, schemas)
        self._orders = Orders(settings, self._pulse, self._publisher, schemas)
        self.gateway_id = f"gateway-{uuid.uuid4().hex[:12]}"
        self.registrar = self._directory.registrar(self._publisher.send, self.gateway_id)
        self._held = 0
        # Topics on which a produce was given up and nothing has been acknowledged since.
        self._silent: set[str] = set()
        self._stopping = False

    async def start(self) -> None:
        """Connect, read the registry, tail the own share of replies.

        Raises KafkaError, Unreachable, WrongCredentials.
        """
        await self._pulse.start()
        await self._publisher.start()
        await self._directory.start()
        await self._replies.start()
        self._metrics.waiting.set_function(lambda: len(self._room))
        self._metrics.held.set_function(lambda: self._held)
        self._metrics.broker_up.set_function(lambda: not self._broker_fault())

    async def drain(self, seconds: float) -> None:
        """Refuse new requests and let those waiting end; what remains then is cancelled."""
        self._stopping = True
        try:
            async with asyncio.timeout(seconds):
                await self._room.empty()
        except TimeoutError:
            for waiting in self._room.all():
                self._room.settle(
                    waiting,
                    Refusal(Code.STOPPING, "the gateway stops; ask again elsewhere or later"),
                )
                self._cancel(waiting)

    async def stop(self) -> None:
        """Write what is left to write, if the broker takes it at once, and disconnect."""
        try:
            async with asyncio.timeout(ACKNOWLEDGE_S):
                await self._publisher.flush()
        except TimeoutError:
            log.warning("stopping with unacknowledged records", open=self._publisher.backlog)
        parts = (self._replies, self._directory, self._pulse, self._publisher)
        await asyncio.gather(*(part.stop() for part in parts))

    def faults(self) -> tuple[str, ...]:
        """Why the gateway is not ready; empty when it is."""
        faults = (
            STOPPING if self._stopping else None,
            self._broker_fault(),
            self._directory.fault(),
            NO_NODE if self._directory.absent_s() else None,
            *(f"{topic} does not acknowledge what is written" for topic in sorted(self._silent)),
        )
        return tuple(fault for fault in faults if fault)

    def look(self) -> None:
        """To be called twice a second at least, so that it is known since when no node runs."""
        self._directory.look(not self._broker_fault())

    def models(self) -> tuple[RegistryRecord, ...]:
        """The models of the registry, by name and version."""
        return self._directory.models()

    def health(self) -> Mapping[str, Health]:
        """How each model is on the node of those that run where it is best, by name@version."""
        return self._directory.health()

    def status(self) -> Mapping[str, NodeLease]:
        """What each node that runs has told last, by its name."""
        return self._directory.status()

    async def order(self, wish: Wish) -> Order:
        """Give an order, and wait for what becomes of it, here too; raises Refusal."""
        self._check(wish.model, None)
        order = await self._orders.give(wish)
        await self._directory.until(lambda: is_shown(order, self.status(), self.models()), SHOWN_S)
        return order

    def hold(self, size: int, to: int = 0) -> None:
        """Count `size` more bytes of content as held here, `to` by the request; raises Refusal."""
        limit = self._settings.limits.gateway_bytes
        if self._held + size > (limit * 3 // 4 if max(size, to) > SMALL else limit):
            raise Refusal(Code.BUSY, "too many bytes of requests are held here; try again later")
        self._held += size

    def release(self, size: int) -> None:
        """Give back what was held."""
        self._held -= size

    async def submit(self, ask: Ask) -> Job:
        """Write a request for which nobody waits; any gateway tells of it from now on."""
        raise Refusal(DoorCode.INTERNAL, "jobs are on their way")

    async def watch(self, request_id: str) -> AsyncGenerator[Job | ProgressEvent | None]:
        """How a job stands, what is told of it, and last how it ended."""
        yield await self.cancel(request_id)

    async def outcome(self, request_id: str) -> InferenceResult:
        """The completed result of a job."""
        raise Refusal(DoorCode.INTERNAL, "jobs are on their way")

    async def cancel(self, request_id: str) -> Job:
        """See to it that a job does not run on, and tell how it stands then."""
        raise Refusal(DoorCode.INTERNAL, "jobs are on their way")

    async def infer(self, ask: Ask, heard: Heard | None = None) -> InferenceResult:
        """The completed result; raises Refusal. Cancelling the call cancels the request."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        code = str(Code.CANCELLED)
        try:
            end = await self._wait(ask, loop, heard)
            if isinstance(end, Refusal):
                raise end
            if end.status is not Status.COMPLETED:
                raise refusal_of(end)
            code = "completed"
            return self.shelf.signed(end)
        except Refusal as refusal:
            code = str(refusal.code)
            refusal.request_id = refusal.request_id or ask.request_id or ""
            raise
        finally:
            self._metrics.answered(ask.door, code, loop.time() - began)

    async def _wait(self, ask: Ask, loop: asyncio.AbstractEventLoop, heard: Heard | None) -> End:
        self._admit(ask)
        request_id, partition = ask.request_id, None
        if request_id is None:
            request_id, partition = await self._replies.mint()
        bind_request(request_id, CALLER.decode(), ask.traceparent)
        waiting, new = self._room.enter(request_id)
        caller: asyncio.Future[End] = loop.create_future()
        waiting.callers.append(caller)
        if heard:
            waiting.listeners.append(heard)
        timeout_ms = ask.timeout_ms or self._settings.timing.request_timeout_ms
        wait_s = timeout_ms / 1000 + GRACE_S
        try:
            if new:
                waiting.allowed_s = timeout_ms / 1000
                record = record_of(request_id, ask, self._settings, self.gateway_id)
                if partition is None:
                    waiting.opening = loop.create_task(self._open(waiting, record))
                else:
                    self._send(waiting, record, partition)
            await asyncio.wait({caller}, timeout=wait_s)
            if not caller.done():
                # It may lie there unread: this process may have stood still, or the broker.
                known = await self._replies.read_all()
                if not caller.done():
                    return waiting.found or _overdue(waiting, known)
            return caller.result()
        finally:
            if heard:
                waiting.listeners.remove(heard)
            if self._room.leave(waiting, caller):
                self._cancel(waiting)

    def _check(self, model: str, lane: str | None) -> None:
        """Whether anything can be written for this model now. Raises Refusal."""
        if self._stopping:
            raise Refusal(Code.STOPPING, "the gateway is stopping; ask again elsewhere or later")
        silent = f"{lane} does not acknowledge what is written" if lane in self._silent else None
        if fault := self._broker_fault() or silent:
            raise Refusal(DoorCode.BROKER_UNREACHABLE, f"{fault}; try again a little later")
        absent_s = self._directory.absent_s()
        known = self._directory.knows(model)
        # One that is known may wait a little: nodes come back, and serve what lies there.
        if absent_s > (self._settings.timing.session_timeout_s if known else 0):
            raise Refusal(
                DoorCode.NO_NODE, f"{NO_NODE} ({absent_s:.0f} s); try again, or start a node"
            )
        if not known:
            raise Refusal(Code.UNKNOWN_MODEL, self._directory.unknown(model))

    def _admit(self, ask: Ask) -> None:
        self._check(ask.model, self._topics[LANE_TOPICS[ask.lane]])
        try:
            check_inputs(len(ask.inputs), self._directory.max_inputs(ask.model))
        except RequestError as error:
            raise Refusal(error.code, error.message) from None
        if self._publisher.backlog_of(self._lanes) >= self._settings.limits.gateway_waiting:
            raise Refusal(Code.BUSY, "too many requests are being written; try again later")

    def _broker_fault(self) -> str | None:
        if not (self._pulse.alive and self._publisher.connected):
            return "the broker does not answer"
        return self._replies.fault()

    async def _open(self, waiting: Waiting, record: Record) -> None:
        """Send the request of a caller's own id, unless its outcome exists already."""
        request_id = waiting.request_id
        try:
            partition = await self._replies.find(request_id)
            if waiting.found:
                self._room.settle(waiting, waiting.found)
            elif not waiting.settled:
                self._send(waiting, record, partition)
        except Refusal as refusal:
            self._room.settle(waiting, refusal)
        except Exception as error:  # noqa: BLE001 - a caller waits for it
            log.warning("look-up failed", request_id=request_id, error=repr(error))
            self._room.settle(waiting, _unreachable(request_id))

    def _send(self, waiting: Waiting, record: Record, partition: int) -> None:
        size = len(record.value or b"")
        self.hold(size)
        loop = asyncio.get_running_loop()
        waiting.sent_at = loop.time()
        waiting.unacknowledged = loop.call_later(
            ACKNOWLEDGE_S, self._give_up, waiting, record.topic
        )

        def acknowledged(answer: Answer) -> None:
            self.release(size)
            waiting.expires_at = loop.time() + waiting.allowed_s + LINGER_S
            self._silent.discard(record.topic)
            if waiting.unacknowledged:
                waiting.unacknowledged.cancel()
            if isinstance(answer, TooLarge):
                self._room.settle(
                    waiting,
                    Refusal(
                        Code.TOO_LARGE,
                        f"the broker takes no record of {size} bytes (its message.max.bytes); "
                        "send its inputs in several requests",
                        request_id=waiting.request_id,
                    ),
                )

        record.headers = (*record.headers, (REPLY_PARTITION, str(partition).encode()))
        record.done = acknowledged
        self._publisher.send(record)

    def _give_up(self, waiting: Waiting, topic: str) -> None:
        # The record may still be written, when the broker is back; so may the cancel behind it.
        if not waiting.settled:
            self._silent.add(topic)
            self._room.settle(waiting, _unreachable(waiting.request_id))
            self._cancel(waiting)

    def _cancel(self, waiting: Waiting) -> None:
        control = self._topics[Topic.CONTROL]
        if waiting.sent_at is None or control not in self._pulse.shapes:
            return
        command = ControlCommand(ControlVerb.CANCEL, waiting.request_id, CALLER.decode())
        key = waiting.request_id.encode()
        headers = ((PRINCIPAL, CALLER),)
        loop = asyncio.get_running_loop()
        record = Record(control, key, encode_control(command), nothing, headers)
        # Until the request is written nobody knows when it expires: it may be long from now.
        record.wanted = lambda: waiting.expires_at is None or loop.time() < waiting.expires_at
        self._publisher.send(record)

    def _on_result(self, record: ConsumerRecord) -> None:
        waiting = self._room.get(record.key)
        if waiting is None:
            return
        try:
            result = decode_result(record.value)
        except (Undecodable, ValueError) as error:
            log.warning("result skipped", offset=record.offset, error=type(error).__name__)
            return
        if waiting.sent_at is None:  # looked for: a higher run may lie behind this one
            waiting.meet(result, record.timestamp, record.offset)
        else:
            self._room.settle(waiting, result)

    def _on_progress(self, record: ConsumerRecord) -> None:
        waiting = self._room.get(record.key)
        if waiting is None or waiting.sent_at is None:
            return
        if waiting.accepted and not waiting.listeners:
            return
        try:
            event = decode_progress(record.value)
        except (Undecodable, ValueError) as error:
            log.warning("progress skipped", offset=record.offset, error=type(error).__name__)
            return
        for heard in waiting.listeners:
            heard(event)
        if event.stage is ProgressStage.ACCEPTED and not waiting.accepted:
            waiting.accepted = event
            now = asyncio.get_running_loop().time()
            self._metrics.accepted.observe(now - waiting.sent_at)


def _unreachable(request_id: str) -> Refusal:
    return Refusal(
        DoorCode.BROKER_UNREACHABLE,
        "the broker does not acknowledge the request; try again a little later",
        request_id=request_id,
    )


def _overdue(waiting: Waiting, known: bool) -> Refusal:
    """The caller's time is over; `known`: no outcome lay there by then."""
    if not known:
        message = "the time allowed is over and the broker does not say how it ended; ask again"
        return Refusal(DoorCode.BROKER_UNREACHABLE, message, request_id=waiting.request_id)
    hint = "" if waiting.accepted else "; no node accepted it, see `modelmora doctor`"
    message = f"the time allowed is over{hint}"
    return Refusal(Code.EXPIRED, message, request_id=waiting.request_id)
