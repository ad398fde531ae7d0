"""One node: puts the rooms together, starts them in order, and stops them within a deadline."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Coroutine
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from modelmora.agents.app import Consumer, NodeApp, build_app
from modelmora.agents.control import Control
from modelmora.agents.intake import Intake
from modelmora.agents.ledger import Partition
from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.models import Models
from modelmora.agents.requests import Requests
from modelmora.agents.results import Results
from modelmora.kafka.publisher import Publisher
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.schema_registry import Schemas
from modelmora.messages import EventKind, Status, Timings
from modelmora.node.health import NodeMetrics, health_app
from modelmora.node.watchdog import EXIT_CODE, Watchdog
from modelmora.resources import available_memory
from modelmora.scheduling import Policy
from modelmora.serving import BrokerClock, Service
from modelmora.settings import Settings
from modelmora.telemetry.http import HttpServer
from modelmora.telemetry.notify import notify
from modelmora.workers import Supervisor

log = structlog.get_logger(__name__)
_MODELS_POLL_S = 0.5
_MEMORY_SHARE = 0.8
# One more than it takes to find a poison: children are killed from outside too, and a request
# that met two such deaths alone is innocent.
_SOLO_CRASHES = 3
_ACKNOWLEDGE_S = 5
_STOP_S = 7


def policy_of(settings: Settings) -> Policy:
    """The scheduler's numbers from the settings and the machine."""
    budget = settings.memory.budget_bytes or int(available_memory() * _MEMORY_SHARE)
    limits, timing = settings.limits, settings.timing
    return Policy(
        cores=settings.cores,
        budget_bytes=budget,
        ageing_s=timing.ageing_s,
        group_requests=limits.group_requests,
        group_bytes=limits.group_bytes,
        group_wait_s=limits.group_wait_ms / 1000,
        load_s=timing.load_s,
        start_to_close_s=timing.start_to_close_s,
        solo_crashes=_SOLO_CRASHES,
    )


async def _all_within(**parts: Coroutine[Any, Any, None]) -> None:
    """Stop parts at once; one that takes too long, or does not heed its cancellation, is left."""
    tasks = {asyncio.create_task(part, name=name) for name, part in parts.items()}
    done, late = await asyncio.wait(tasks, timeout=_STOP_S)
    for task in late:
        task.cancel()
        log.warning("did not stop in time", part=task.get_name())
    for task in done:
        if not task.cancelled() and (error := task.exception()):
            log.warning("did not stop cleanly", part=task.get_name(), error=repr(error))


class Node:
    """The node process.

    Outcomes have a publisher of their own: a topic for progress or events that is missing, or
    refused to us, must not hold them up.
    """

    def __init__(self, settings: Settings, schemas: Schemas | None = None) -> None:
        self.settings = settings
        self.name = settings.member_id or f"{socket.gethostname()}-{os.getpid()}"
        self.clock = BrokerClock()
        self.intake = Intake(settings.limits)
        self.metrics = NodeMetrics()
        framing = schemas.framing if schemas else None
        self.publisher = Publisher(settings, framing=framing)
        self.teller = Publisher(settings, framing=framing)
        self.lifecycle = Lifecycle(self.teller, self.name, settings.namespace, self.clock.heard)
        results = Results(
            self.publisher,
            self.teller,
            self.intake,
            self.clock,
            self.lifecycle,
            settings.namespace,
        )
        results.on_outcome = self._count
        self.service = Service(
            results, self.clock, policy_of(settings), settings.timing.request_timeout_ms
        )
        self.workers = Supervisor(self.service.listener, on_zygote=self._on_zygote)
        self.service.use(self.workers)
        self.models = Models(settings, self.service, self.teller, self.lifecycle, self.name)
        self.control = Control(settings, self.service, self.models, schemas)
        self.requests = Requests(settings, self.intake, self.service, results, self.clock, schemas)
        self.pulse = Pulse(settings)
        self.http = HttpServer(
            health_app(self.checks, self.model_rows, self.metrics),
            settings.host,
            settings.node_http_port,
        )
        self.app: NodeApp = build_app(
            settings, self.intake, self.requests.on_batch, self._on_assigned, self._on_revoked
        )
        self.failure: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._assigned = asyncio.Event()
        self._ready = False
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._gauges()

    # Life ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start every part; returns when requests are being read."""
        # First, so that a node that waits long for partitions is seen to live.
        host, port = await self.http.start()
        address = f"http://{host}:{port}"
        await self.workers.start()
        await self.pulse.start()
        await self.publisher.start()
        await self.teller.start()
        # The event's acknowledgement tells the broker's time before the first request is read.
        self.lifecycle.event(EventKind.NODE_JOINED, facts={"cores": self.settings.cores})
        await self._acknowledged(self.teller)
        await self.control.start()
        self.models.refresh()
        await self.app.start()
        self._watch(models=self._watch_models(), consumer=self._watch_consumer())
        await self._assigned.wait()
        await self.workers.zygote_ready()  # before, a first answer would wait for its imports
        self._ready = True
        notify(ready=True, node_http=address, zygote=self.workers.zygote_pid)
        log.info("node ready", node=self.name, http=address)

    async def stop(self) -> None:
        """Finish started work within the drain time, commit, and leave nothing running."""
        self._stopping = True
        notify(ready=False)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        partitions = self.intake.partitions()
        await self._on_revoked(partitions)
        # The children end now: what they leave is not to be judged as if they had crashed.
        self.service.drop(partitions, started=True)
        self.lifecycle.event(EventKind.NODE_LEFT)
        await _all_within(
            faust=self.app.stop(), control=self.control.stop(), workers=self.workers.stop()
        )
        # Last, for the others' ends are told too.
        await _all_within(
            publisher=self._flush_and_stop(self.publisher),
            teller=self._flush_and_stop(self.teller),
            pulse=self.pulse.stop(),
            http=self.http.stop(),
        )

    async def _flush_and_stop(self, publisher: Publisher) -> None:
        try:
            await self._acknowledged(publisher)
        finally:
            await publisher.stop()

    async def _acknowledged(self, publisher: Publisher) -> None:
        try:
            await asyncio.wait_for(publisher.flush(), _ACKNOWLEDGE_S)
        except TimeoutError:
            log.warning("records not acknowledged in time", open=publisher.backlog)

    # Rebalances ----------------------------------------------------------------------------------

    async def _on_assigned(self, partitions: set[Partition]) -> None:
        """Take over offsets; what runs for partitions that have gone is forgotten."""
        consumer: Consumer = self.app.consumer
        committed = await consumer.committed(partitions) if partitions else {}
        gone = self.intake.partitions() - committed.keys()
        self.service.drop(gone, started=True)
        self.requests.drop(gone)
        if self._stopping:
            return  # whatever was read now would be nobody's
        self.intake.assign(committed)
        log.info("partitions assigned", owned=len(committed), gone=len(gone))
        if committed:
            self._assigned.set()

    async def _on_revoked(self, partitions: set[Partition]) -> None:
        """Finish started work and commit; what only waits is read again by its next owner."""
        self.intake.close()
        self.intake.drop(self.service.drop(partitions, started=False))
        self.intake.drop(self.requests.drop(partitions))
        if not await self.service.drain(partitions, self.settings.timing.drain_s):
            log.warning("started work left uncommitted, it will be run again")
        consumer: Consumer = self.app.consumer
        for step in (self.publisher.flush, consumer.commit_now):
            try:
                await asyncio.wait_for(step(), _ACKNOWLEDGE_S)
            except TimeoutError:
                log.warning("outcomes not acknowledged in time, they may be repeated")
        self.intake.settle()

    # Watching ------------------------------------------------------------------------------------

    def _watch(self, **watches: Coroutine[Any, Any, None]) -> None:
        self._tasks = [asyncio.create_task(each, name=name) for name, each in watches.items()]
        for task in self._tasks:
            task.add_done_callback(self._unwatched)

    def _unwatched(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("a watch has ended", watch=task.get_name(), exc_info=error)
            self._fail(f"nobody watches the {task.get_name()} any more")

    async def _watch_models(self) -> None:
        while True:
            await asyncio.sleep(_MODELS_POLL_S)
            self.models.refresh()

    async def _watch_consumer(self) -> None:
        """End the process when Faust has crashed or reads nothing although there is something."""
        watchdog = Watchdog(self.settings.timing.watchdog_s)
        while True:
            await asyncio.sleep(self.settings.timing.watchdog_s / 6)
            if self.app.crashed:
                self._fail("the Faust application crashed")
            if not self.pulse.alive or self.app.rebalancing:
                watchdog = Watchdog(self.settings.timing.watchdog_s)
                continue
            try:
                readable, positions = await asyncio.wait_for(self.app.consumer.standing(), 10)
            except (TimeoutError, KafkaError) as error:
                log.debug("watchdog could not look", error=repr(error))
                continue
            stuck = watchdog.stuck(readable, positions, self.intake.gated, time.monotonic())
            if stuck:
                self._fail(f"nothing is read from {stuck[0]} {stuck[1]} although records wait")

    def _fail(self, reason: str) -> None:
        log.error("node ends to be started anew", reason=reason)
        if not self.failure.done():
            self.failure.set_result(EXIT_CODE)

    def _on_zygote(self, pid: int | None) -> None:
        if self._assigned.is_set():
            notify(zygote=pid)

    # Telling -------------------------------------------------------------------------------------

    def checks(self) -> dict[str, bool]:
        """What must be true for a request to be served now."""
        return {
            "broker": self.pulse.alive and self.publisher.connected,
            "consumer": self._assigned.is_set() and not self.app.crashed,
            "workers": self.workers.zygote_pid is not None,
            "running": self._ready and not self._stopping,
        }

    def model_rows(self) -> list[dict[str, Any]]:
        """Each model with its state, process and memory."""
        pids = self.workers.pids
        replicas = self.service.replicas
        pid_of = {key: pids.get(replica) for replica, key in replicas.items()}
        return [
            {
                "name": status.key[0],
                "version": status.key[1],
                "task": self.service.catalogue.specs[status.key].task,
                "state": status.state.value,
                "pid": pid_of.get(status.key),
                "memory_bytes": status.bytes,
                "waiting": status.waiting,
                "running": status.started,
                "idle_s": status.idle_s,
            }
            for status in self.service.status()
            if status.key in self.service.catalogue.specs
        ]

    def _count(self, status: Status, model: str, timings: Timings) -> None:
        served = model if self.service.catalogue.named(model) else ""
        self.metrics.outcome(status, served, timings)

    def _gauges(self) -> None:
        gauge = self.metrics.gauge
        intake, workers = self.intake, self.workers
        gauge("modelmora_open_requests", "Read and not answered.", lambda: intake.open_requests)
        gauge("modelmora_open_bytes", "Bytes of those.", lambda: intake.open_bytes)
        gauge("modelmora_gated_partitions", "Full partitions.", lambda: len(intake.gated))
        gauge("modelmora_unacknowledged", "Outcomes to write.", lambda: self.publisher.backlog)
        gauge("modelmora_untold", "Progress and events to write.", lambda: self.teller.backlog)
        gauge("modelmora_workers", "Child processes.", lambda: len(workers.pids))
        gauge("modelmora_fresh_starts_total", "Not forked.", lambda: workers.fresh_starts)
        gauge("modelmora_zygote_starts_total", "Zygotes started.", lambda: workers.zygote_starts)
