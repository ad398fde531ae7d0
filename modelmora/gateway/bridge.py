"""The hall: a caller's request onto the topics, and its outcome from the topics to the caller."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial

import structlog
from aiokafka import ConsumerRecord

from modelmora.access.secrets import cluster_signer_of
from modelmora.audit.auditor import Auditor, Tell, untold
from modelmora.errors import Code, RequestError, Undecodable
from modelmora.gateway.batches.following import Following
from modelmora.gateway.batches.register import Register
from modelmora.gateway.caller import caller
from modelmora.gateway.calls.asking import Asking
from modelmora.gateway.calls.desk import Desk
from modelmora.gateway.calls.jobs import HELD_MS, Job
from modelmora.gateway.calls.replies import Replies
from modelmora.gateway.calls.requests import Requests
from modelmora.gateway.calls.waiting import WaitingRoom, mistaken
from modelmora.gateway.calls.writing import ACKNOWLEDGE_S, Writer
from modelmora.gateway.cluster.administrator import Administrator
from modelmora.gateway.hall import Ask, Heard, Wish
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.models import Directory
from modelmora.gateway.orders import SHOWN_S, Orders, is_shown
from modelmora.gateway.outcomes import Refusal, refusal_of
from modelmora.gateway.probes.prober import Prober
from modelmora.gateway.rights.limiter import Limiter
from modelmora.gateway.shelf import Shelf
from modelmora.gateway.wellness import NO_NODE, Parts, Wellness, bears_s
from modelmora.kafka.background import background
from modelmora.kafka.leases import NodeLease
from modelmora.kafka.orders import Order
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.sizes import check_inputs
from modelmora.kafka.topics import LANE_TOPICS, Topic
from modelmora.kafka.writing.publisher import Publisher, Record
from modelmora.messages import (
    Health,
    InferenceResult,
    JobRecord,
    ProgressEvent,
    ProgressStage,
    RegistryRecord,
    Status,
)
from modelmora.messages.headers import CONTENT, JOB, READ_AT, principal_of
from modelmora.objects import open_objects
from modelmora.records.limiting import Limiting
from modelmora.records.ruling import Ruling
from modelmora.settings import Settings
from modelmora.telemetry.health import Verdict
from modelmora.telemetry.samples import MOST_WAITING, Samples
from modelmora.web.problems import DoorCode
from modelmora.wire import decode_job, decode_progress, decode_result

log = structlog.get_logger(__name__)
FOLLOWED = (
    *(Topic.RESULTS, Topic.PROGRESS, Topic.JOBS, Topic.BATCHES),
    *(Topic.REGISTRY, Topic.CONTROL, Topic.EVENTS, Topic.BUDGETS),
)


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
        auditor: Auditor | None = None,
    ) -> None:
        self.shelf = Shelf(open_objects(settings))
        self._settings = settings
        self._metrics = metrics
        self._topics = {topic: topic.full(settings.namespace) for topic in Topic}
        self._lanes = {self._topics[topic] for topic in LANE_TOPICS.values()}
        self._room = WaitingRoom(settings.limits.gateway_waiting)
        framing = schemas.framing if schemas else None
        bounds = {self._topics[Topic.METRICS]: MOST_WAITING}
        self._publisher = Publisher(settings, framing=framing, drop_oldest=bounds)
        signer = cluster_signer_of(settings)
        followed = [self._topics[topic] for topic in FOLLOWED]
        self._pulse = Pulse(settings, [*followed, *sorted(self._lanes)])
        self._replies = Replies(
            settings, self._pulse, self._on_result, self._on_progress, self._on_job, schemas
        )
        self._directory = Directory(settings, self._pulse, schemas)
        self.ruling = Ruling(settings.access, self._directory.state)
        """Who may do what, as settings and registry tell it by now."""
        self._orders = Orders(settings, self._pulse, self._publisher, schemas, signer)
        self.gateway_id = f"gateway-{uuid.uuid4().hex[:12]}"
        self.limiting = Limiting(settings.access.budgets, self._directory.state)
        """The budgets that settings and registry tell by now."""
        send = self._publisher.send
        given = send, self.gateway_id, schemas, self.limiting
        self.limiter = Limiter.of(settings, self._pulse, *given)
        self._auditor = auditor
        self.audit: Tell = auditor.tell if auditor else untold
        """Tells who did what, or was not let."""
        self.registrar = self._directory.registrar(send, self.gateway_id, self.audit)
        self.administration = Administrator(settings, self.audit, send, self.gateway_id)
        self._writer = Writer(settings, self._publisher, self._pulse, self._room.busy, signer)
        state = self._directory.state
        self._requests = Requests(settings, self.gateway_id, state, self._pulse, signer)
        self._asking = Asking(
            settings, self.gateway_id, self._requests, self._room, self._replies, self._writer
        )
        jobs, stored = self._topics[Topic.JOBS], self._asking.stored
        self._desk = Desk(jobs, self._replies, self._writer, stored, self._room)
        self._following = Following(settings, self._pulse, self._writer, self.shelf, schemas)
        nodes = self._directory.status
        asks = settings, self._pulse, self._publisher, self._replies.mint
        self._prober = Prober(*asks, lambda: nodes().values(), metrics, signer)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.wellness = Wellness(settings, self._parts(schemas), self._lanes)

    def _parts(self, schemas: Schemas | None) -> Parts:
        kafka = self._pulse, self._publisher, self._replies, self._directory, self._prober
        return Parts(*kafka, self._writer, self._room, self._following, self.shelf, schemas)

    async def start(self) -> None:
        """Connect, read the registry, tail the own share of replies.

        Raises KafkaError, Unreachable, WrongCredentials.
        """
        await self._pulse.start()
        await self._publisher.start()
        await self._directory.start()
        await self._replies.start()
        await self._following.start()
        await self.limiter.start()
        self._metrics.waiting.set_function(lambda: len(self._room))
        self._metrics.held.set_function(lambda: self._writer.held)
        self._metrics.judged(self.verdict)
        self._metrics.broker_up.set_function(lambda: not self.wellness.broker_fault())
        told = self._metrics.registry, self.gateway_id, self._publisher.send
        samples = background(Samples(self._settings, *told).run(), "samples")
        self._tasks = [samples, background(self._prober.run(), "probes", ends=True)]
        if self._auditor:
            self._auditor.use(self._publisher.send)

    def leave(self) -> None:
        """Say from now on that the gateway stops; what comes all the same is served until then."""
        self.wellness.stopping = True

    async def drain(self, seconds: float) -> None:
        """Refuse new requests and let those waiting end; what remains then is cancelled."""
        self._stopping = self.wellness.stopping = True
        try:
            async with asyncio.timeout(seconds):
                await self._room.empty()
        except TimeoutError:
            for waiting in self._room.all():
                self._room.settle(
                    waiting,
                    Refusal(Code.STOPPING, "the gateway stops; ask again elsewhere or later"),
                )
                self._asking.cancel(waiting)

    async def stop(self) -> None:
        """Write what is left to write, if the broker takes it at once, and disconnect."""
        for task in self._tasks:
            task.cancel()
        if self._auditor:
            self._auditor.stop()
        self.limiter.leave()
        self.administration.stop()
        try:
            async with asyncio.timeout(ACKNOWLEDGE_S):
                await self._publisher.flush()
        except TimeoutError:
            log.warning("stopping with unacknowledged records", open=self._publisher.backlog)
        parts = self._following, self._replies, self._directory, self.limiter
        await asyncio.gather(*(part.stop() for part in (*parts, self._pulse, self._publisher)))

    def faults(self) -> tuple[str, ...]:
        """Why the gateway is not ready; empty when it is."""
        return self.verdict().faults

    def verdict(self) -> Verdict:
        """How the gateway is, in full."""
        return self.wellness.verdict()

    def look(self) -> None:
        """To be called twice a second at least, so that it is known since when no node runs."""
        self.wellness.look()

    @property
    def batches(self) -> Register:
        """Files and batches."""
        return self._following.register

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
        self.audit(wish.verb.value.lower(), caller.get(), model=wish.model)
        order = await self._orders.give(wish)
        await self._directory.until(lambda: is_shown(order, self.status(), self.models()), SHOWN_S)
        return order

    def hold(self, size: int, to: int = 0) -> None:
        """Count `size` more bytes of content as held here, `to` by the request; raises Refusal."""
        self._writer.hold(size, to)

    def release(self, size: int) -> None:
        """Give back what was held."""
        self._writer.release(size)

    async def infer(self, ask: Ask, heard: Heard | None = None) -> InferenceResult:
        """The completed result; raises Refusal. Cancelling the call cancels the request."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        code = str(Code.CANCELLED)
        try:
            self._admit(ask)
            end = await (self._carry_out(ask) if ask.job else self._asking.wait(ask, heard))
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
            self._metrics.answered(ask.door, code, loop.time() - began, ask.traceparent)

    async def _carry_out(self, ask: Ask) -> InferenceResult:
        assert ask.request_id  # noqa: S101 - jobs that are waited for have one
        make = self._record_of(ask)
        what = (ask.request_id, ask.principal, ask.model, make, ask.course)
        return await self._desk.carry_out(*what, new=ask.new)

    def _record_of(self, ask: Ask) -> Callable[[str], Record]:
        return partial(self._requests.record, ask=ask)

    async def submit(self, ask: Ask) -> Job:
        """Write a request for which nobody waits; any gateway tells of it from now on."""
        self._admit(ask)
        what = (ask.request_id, ask.principal, ask.model, self._record_of(ask), ask.course)
        return await self._desk.submit(*what)

    def watch(self, request_id: str) -> AsyncGenerator[Job | ProgressEvent | None]:
        """How a job stands, what is told of it, and last how it ended; None after each silence."""
        return self._desk.watch(request_id)

    async def outcome(self, request_id: str) -> InferenceResult:
        """The completed result of a job; raises Refusal."""
        return self.shelf.signed(await self._desk.outcome(request_id))

    async def cancel(self, request_id: str) -> Job:
        """See to it that a job does not run on, and tell how it stands then. Raises Refusal."""
        job = await self._desk.cancel(request_id)
        self.audit("cancel", caller.get(), model=job.model, request_id=request_id)
        return job

    def _check(self, model: str, lane: str | None) -> None:
        """Whether anything can be written for this model now. Raises Refusal."""
        if self._stopping:
            raise Refusal(Code.STOPPING, "the gateway is stopping; ask again elsewhere or later")
        silent = _silent(lane) if lane in self._writer.silent else None
        if fault := self.wellness.broker_fault() or silent:
            raise Refusal(DoorCode.BROKER_UNREACHABLE, f"{fault}; try again a little later")
        absent_s = self._directory.absent_s()
        known = self._directory.knows(model)
        if absent_s > bears_s(self._settings, known=known):
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
            raise self._room.busy("too many requests are being written")

    def _on_result(self, record: ConsumerRecord) -> None:
        if self._prober.hears(record):
            return
        waiting, card = self._room.get(record.key), self._desk.get(record.key)
        if waiting is None and card is None:
            return
        principal = principal_of(record.headers)
        try:
            result = decode_result(record.value)
        except (Undecodable, ValueError) as error:
            log.warning("result skipped", offset=record.offset, error=type(error).__name__)
            return
        if card and card.meet(JobRecord.ended(result, principal, record.timestamp)):
            self.limiter.passed(result, principal)
        if waiting is None:
            return
        content = _content(record)
        if waiting.principal != principal:
            waiting.foreign = True
            moved = any(name == READ_AT for name, _ in record.headers)
            if not moved and waiting.is_mistaken(result, principal):
                self._room.settle(waiting, mistaken(waiting.request_id, principal))
        elif waiting.sent_at is None:  # looked for: a higher run may lie behind this one
            waiting.meet(result, content, record.timestamp, record.offset)
        elif waiting.ends(result, content):
            waiting.read = record
            self._room.settle(waiting, result)

    def _on_progress(self, record: ConsumerRecord) -> None:
        waiting, card = self._room.get(record.key), self._desk.get(record.key)
        told = waiting and waiting.accepted and not waiting.listeners
        if card is None and (waiting is None or told):
            return
        try:
            event = decode_progress(record.value)
        except (Undecodable, ValueError) as error:
            log.warning("progress skipped", offset=record.offset, error=type(error).__name__)
            return
        principal = principal_of(record.headers)
        # An outcome is kept for so long: what was told before has ended, and may be asked anew.
        recent = record.timestamp > time.time() * 1000 - HELD_MS
        if card and recent:
            card.hear(event, principal, job=any(name == JOB for name, _ in record.headers))
        if waiting is None:
            return
        if waiting.principal != principal:
            waiting.foreign = True
            return
        if waiting.sent_at is None:
            return
        for heard in waiting.listeners:
            heard(event)
        if event.stage is ProgressStage.ACCEPTED and not waiting.accepted:
            waiting.accepted = event
            now = asyncio.get_running_loop().time()
            self._metrics.accepted.observe(now - waiting.sent_at)

    def _on_job(self, record: ConsumerRecord) -> None:
        if card := self._desk.get(record.key):
            try:
                card.note(decode_job(record.value), _content(record))
            except (Undecodable, ValueError) as error:
                log.warning("job skipped", offset=record.offset, error=type(error).__name__)


def _content(record: ConsumerRecord) -> str:
    return (dict(record.headers).get(CONTENT) or b"").decode(errors="replace")


def _silent(topic: str | None) -> str:
    return f"{topic} does not acknowledge what is written"
