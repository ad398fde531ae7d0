"""One node: puts the rooms together, starts them in order, and stops them within a deadline."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Mapping
from functools import partial

import structlog

from modelmora import addresses
from modelmora.agents.app import NodeApp, build_app
from modelmora.agents.handon import HandOn
from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.models.control import Control
from modelmora.agents.models.presence import Presence
from modelmora.agents.models.served import Models
from modelmora.agents.models.warming import Warming
from modelmora.agents.partitions.beginning import Oddity
from modelmora.agents.partitions.books import Books
from modelmora.agents.partitions.care import Care
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.janitor import bearer_of
from modelmora.agents.partitions.lease import Lease
from modelmora.agents.partitions.takeover import Partitions
from modelmora.agents.requests import Requests
from modelmora.agents.results import Results
from modelmora.agents.shadows.outcomes import Apart
from modelmora.agents.stored import Stored
from modelmora.agents.twins import Twins
from modelmora.audit.auditor import Auditor
from modelmora.kafka.batches import Partition
from modelmora.kafka.group import Member
from modelmora.kafka.leases import Leases
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic, lane_topics, read_topics, tier_topics
from modelmora.kafka.writing.outbox import Outbox
from modelmora.kafka.writing.publisher import Publisher
from modelmora.kafka.writing.transactions import TransactionalPublisher
from modelmora.messages import EventKind
from modelmora.node.answers import Answers
from modelmora.node.budgets import Charging
from modelmora.node.canaries import judge_of
from modelmora.node.copies import copier_of
from modelmora.node.departure import Departure
from modelmora.node.gauges import add_gauges
from modelmora.node.health import health_app, health_server
from modelmora.node.leave import Leave
from modelmora.node.lookout import EXIT_CODE, Lookout
from modelmora.node.metrics import NodeMetrics
from modelmora.node.models import look, model_rows
from modelmora.node.objects import Shelf
from modelmora.node.policy import policy_of, sandbox_mode
from modelmora.node.publishers import publishers
from modelmora.node.spans import Ended
from modelmora.node.stopping import all_within
from modelmora.node.watches import Watches
from modelmora.node.wellness import Wellness
from modelmora.serving import BrokerClock, Service
from modelmora.serving.shares import Shares
from modelmora.settings import Settings
from modelmora.telemetry.notify import notify
from modelmora.telemetry.samples import Samples
from modelmora.web.server import HttpServer
from modelmora.wire import Framing
from modelmora.workers.handle import Spawned
from modelmora.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)
_MODELS_POLL_S = 0.5
_PRESENCE_S = 0.25
_ACKNOWLEDGE_S = 5
_GATES_S = 0.02
_TOLD = (Topic.CONTROL, Topic.REGISTRY, Topic.EVENTS, Topic.BUDGETS)
_WATCHED = (*_TOLD, Topic.RESULTS, Topic.DEAD_LETTERS, Topic.COMPARE)
"""Topics that are asked for, beside those that are read in the group."""


class Node:
    """The node process.

    Outcomes have a publisher of their own: they wait for the group's lease, or for the transaction
    that they share with their offsets, and nothing else does.
    """

    def __init__(
        self, settings: Settings, schemas: Schemas | None = None, zygote: Spawned | None = None
    ) -> None:
        self.settings = settings
        self.schemas = schemas
        self.name = settings.member_id or f"{socket.gethostname()}-{os.getpid()}"
        names = [topic.full(settings.namespace) for topic in _WATCHED]
        self.pulse = Pulse(settings, [*names, *read_topics(settings)])
        self.clock = BrokerClock(leads=self.pulse.leader)
        self.metrics = NodeMetrics()
        self.ended = Ended(self)
        namespace = settings.namespace
        self.lanes = lane_topics(settings)
        self.intake = Intake(settings.limits, read_topics(settings))
        self.care = Care(self.intake)
        self.lease = Lease(settings.timing.session_timeout_s)
        framing = schemas.framing if schemas else None
        self.bearer = bearer_of(settings.group, self.name)
        self.publisher, self.teller = publishers(settings, self.lease, framing, self.bearer)
        self.lifecycle = Lifecycle(self.teller, self.name, namespace, self.clock.acknowledged)
        self.audit = Auditor.of(settings, f"node@{self.name}", "nodes")
        self.shelf = Shelf.of(settings)
        self.stored = Stored(settings, self.pulse, schemas)
        self.twins = Twins(self.intake, self.stored, self.clock.now_ms)
        answers = Answers(self, self.ended.note)
        self.verifier, self.retries, results = answers.verifier, answers.retries, answers.all
        self._compute(results, zygote)
        leases = Leases()
        self.warming = Warming(self.name, leases, self.service)
        told = (partial(look, self.service, self.workers), self.intake, leases, self.teller)
        self.presence = Presence(settings, self.name, *told)
        self.hand_on = self.service.elsewhere = HandOn(
            leases, self.intake, results, self.name, self.service.catalogue.meant
        )
        self._listen(leases, schemas)
        given = (self.intake, self.service, results, self.clock, schemas)
        objects = self.shelf.objects if self.shelf else None
        known = (objects, self.twins, self.care, self.verifier, answers.gate)
        self.requests = Requests(settings, *given, *known, probes=answers.probes)
        self.requests.on_first = self.retries.budget.earn
        self.twins.use(self.requests.admit, self.service, results)
        self._charge(answers.results)
        self.app: NodeApp = build_app(settings, self.requests.on_batch)
        self._form_group(framing)
        self.wellness = Wellness(self)
        self.http = self._door()
        self.failure: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.departure = Departure(self)
        self.waiting_for: str | None = "broker"
        self._address, self._ready, self.stopping = "", False, False
        self.watches = Watches(self.fail)
        add_gauges(self, answers.results)
        self.samples = Samples(settings, self.metrics.registry, self.name, self.teller.send)

    def _charge(self, results: Results) -> None:
        """Who keeps the budgets of those that no gateway has charged."""
        kafka = (self.pulse, self.teller, self.schemas)
        parts = (self.models.state, kafka, self.verifier, self.service, self.retries)
        self.charging = Charging(self.settings, self.name, *parts)
        self.charging.stand_before(self.requests, results)

    def _door(self) -> HttpServer:
        """Where it tells how it is."""
        look, settings = self.wellness.verdict, self.settings
        self.metrics.judged(look)
        rows = partial(model_rows, self.service, self.workers)
        app = health_app(look, self.wellness.facts, rows, self.metrics)
        return health_server(app, settings)

    def _compute(self, results: Apart, zygote: Spawned | None) -> None:
        """The service, the processes that it has compute, and the models that they serve."""
        settings = self.settings
        limits = settings.limits
        shares = Shares(limits.partition_requests, limits.partition_bytes)
        self.policy, timeout_ms = policy_of(settings), settings.timing.request_timeout_ms
        self.service = Service(results, self.clock, self.policy, timeout_ms, shares=shares)
        self.service.overflow = self.retries.overflow
        self.workers = Supervisor(
            self.service.listener,
            on_zygote=lambda pid: notify(zygote=pid),
            zygote=zygote,
            sandbox=sandbox_mode(settings),
            runtimes=settings.runtimes,
        )
        self.service.use(self.workers)
        self.ended.watch()
        self.models = Models(
            settings, self.service, self.teller, self.lifecycle, self.name, self.audit.tell
        )

    def _listen(self, leases: Leases, schemas: Schemas | None) -> None:
        """Who reads what is told to every node."""
        parts = (self.service, self.models, leases, self.pulse, self.lifecycle)
        self.control = Control(self.settings, *parts, schemas, self.audit.tell, self.verifier)
        leave = Leave(self.settings.access, self.models.state, self.audit.tell)
        leave.ask(self.service, self.control)
        self.copier = copier_of(self)

    def _form_group(self, framing: Framing | None) -> None:
        """The member of the group, whoever works on its partitions, and who looks at both."""
        settings, publisher = self.settings, self.publisher
        transactions = publisher if isinstance(publisher, TransactionalPublisher) else None
        self.standing = Standing(settings)
        self.partitions = Partitions(
            self.intake,
            self.lease,
            self.standing,
            Topic.RESULTS.full(settings.namespace),
            self,
            on_batches=self.app.feed.put,
            on_due=transactions.commit if transactions else None,
            on_odd=self._on_odd,
            on_failed=self.fail,
            tiers=tier_topics(settings),
            plain=framing.plain if framing else None,
            care=self.care,
            is_told=self.verifier.was_handed_on,
        )
        self.member = Member(settings, self.name, read_topics(settings), self.partitions)
        self.partitions.reader = self.requests.reader = self.member
        if transactions:
            transactions.reader = self.member
            taking = self.partitions
            told = (taking.since_ms, self.bearer, taking.signed, taking.on_told)
            transactions.books = Books(self.intake, *told)
        self.app.feed.taken = self.member.taken
        parts = (self.partitions, self.member, self.standing, self.fail)
        self.lookout = Lookout(settings, self.name, *parts)

    # Life ----------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start what needs no broker: health, the workers, and Faust, which rests for a second."""
        # First, so that a node that waits long is seen to live.
        host, port = await self.http.start()
        self._address = f"{self.http.scheme}://{addresses.join(host, port)}"
        notify(node_http=self._address)
        await self.workers.start()
        self._wait_for("broker")
        await self.app.start()

    async def start(self) -> None:
        """Start every other part; returns when requests are being read."""
        await self.pulse.start()
        await self.publisher.start()
        await self.teller.start()
        # The event's acknowledgement tells the broker's time before the first request is read.
        self.lifecycle.event(EventKind.NODE_JOINED, facts={"cores": self.settings.cores})
        await self.acknowledged(self.teller)
        await self.control.start()
        await self.charging.start()
        await self._look_at_models()
        await self.app.feed.reading.wait()
        self._wait_for("models that other nodes have in use")
        await self.warming.join(self.settings.timing.warm_up_s)
        await self._look_at_models()  # as they are by now
        self.member.start()
        self.watches.begin(
            models=self._watch_models(),
            presence=self._watch_presence(),
            commits=self._watch_commits(),
            gates=self._watch_gates(),
            path=self.lookout.run(),
            reader=self.wellness.watch(),
            metrics=self.samples.run(),
            canaries=judge_of(self).run(),
            **({"objects": self.shelf.sweep()} if self.shelf else {}),
        )
        self._wait_for("partitions")
        await self.partitions.settled.wait()
        self._wait_for("imports of the models")  # before, a first answer would wait for them
        await self.workers.zygote_ready()
        self.presence.tell()
        gc.freeze()  # what is there now stays
        self._ready, self.waiting_for = True, None
        self.audit.use(self.teller.send)
        notify(ready=True)
        log.info("node ready", node=self.name, http=self._address, partitions=len(self._owned))

    def _wait_for(self, what: str) -> None:
        self.waiting_for = what
        log.info("node is not ready yet", waiting_for=what)

    async def stop(self) -> None:
        """Finish started work within the drain time, commit, and leave nothing running."""
        self.stopping = True
        notify(ready=False)
        await self.departure.hand_over()
        await self.copier.stop()
        await self.member.stop()  # which gives everything back, with a last commit
        await self.watches.end()
        self.partitions.close()
        if self.shelf:
            await self.shelf.stop()
        # The children end now: what they leave is not to be judged as if they had crashed.
        self.forget(self._owned)
        self.service.close()
        await self.twins.stop()
        await self.charging.stop()
        await self.stored.stop()
        self.lifecycle.event(EventKind.NODE_LEFT, facts=self.departure.facts())
        self.audit.stop()
        await all_within(
            faust=self.app.stop(), control=self.control.stop(), workers=self.workers.stop()
        )
        # Last, for the others' ends are told too.
        await all_within(
            publisher=self._flush_and_stop(self.publisher),
            teller=self._flush_and_stop(self.teller),
            pulse=self.pulse.stop(),
            http=self.http.stop(),
            spans=self.ended.close(),
        )

    async def _flush_and_stop(self, publisher: Outbox) -> None:
        try:
            await self.acknowledged(publisher)
        finally:
            await publisher.stop()

    async def acknowledged(self, publisher: Outbox) -> None:
        """Wait until the broker has what was handed over, for a while."""
        try:
            await asyncio.wait_for(publisher.flush(), _ACKNOWLEDGE_S)
        except TimeoutError:
            log.warning("records not acknowledged in time", open=publisher.backlog)

    # What the partitions ask ---------------------------------------------------------------------

    def forget(self, partitions: set[Partition]) -> None:
        """Drop all work of these partitions, started or not, without an outcome."""
        self.requests.drop(partitions)

    async def written(self) -> None:
        """Wait until the outcomes that were handed over are acknowledged or given up."""
        if isinstance(self.publisher, Publisher):  # a transaction ends or is refused as a whole
            await self.publisher.handed_over()

    def since_ms(self) -> float:
        """The broker's time (Unix ms) up to which every outcome written is counted as done."""
        return self.clock.now_ms() - self.publisher.oldest_s() * 1000

    def _on_odd(self, what: Oddity, partition: Partition, facts: Mapping[str, int]) -> None:
        self.metrics.odd(what, facts["unread_offsets"])
        topic, number = partition
        told = {"what": what.value, "topic": topic, "partition": number, **facts}
        self.lifecycle.event(EventKind.HEALTH_CHANGED, facts=told)

    # Watching ------------------------------------------------------------------------------------

    async def _watch_models(self) -> None:
        while True:
            await asyncio.sleep(_MODELS_POLL_S)
            await self._look_at_models()
            self.control.keep()
            self.copier.look()

    async def _watch_presence(self) -> None:
        """Apart from the models, whose disk may not answer."""
        while True:
            await asyncio.sleep(_PRESENCE_S)
            self.presence.tell()

    async def _look_at_models(self) -> None:
        """In a thread: files may lie on a disk that does not answer."""
        self.models.take(await asyncio.to_thread(self.models.look))
        await self.wellness.look_at_disk()

    async def _watch_commits(self) -> None:
        while True:
            await asyncio.sleep(self.settings.timing.commit_interval_s)
            self.partitions.commit()

    async def _watch_gates(self) -> None:
        """Open and close gates; outputs that nobody takes hold up all reading (invariant I5)."""
        limit = self.settings.limits.node_bytes
        while True:
            await asyncio.sleep(_GATES_S)
            if self.app.crashed:
                self.fail("the Faust application crashed")
            kept = self.shelf.moving.held_bytes if self.shelf else 0
            self.intake.hold = self.publisher.backlog_bytes + kept > limit
            self.requests.regate()

    @property
    def _owned(self) -> set[Partition]:
        return self.intake.partitions()

    def fail(self, reason: str, code: int = EXIT_CODE) -> None:
        """Only a new process helps."""
        log.error("the node ends", reason=reason)
        self.departure.why = self.departure.why or reason
        if not self.failure.done():
            self.failure.set_result(code)

    # Telling -------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether it has got ready, and does not stop."""
        return self._ready and not self.stopping
