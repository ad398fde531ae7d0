"""The hall behind every door: all is asked by someone who may, and has budget left for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

from modelmora.access.budgets import Charge
from modelmora.access.rights import Told, Verb, asking
from modelmora.audit import reading
from modelmora.audit.verifying import Report
from modelmora.deadletters.choosing import May, anything
from modelmora.deadletters.letters import DeadLetter, Wanted
from modelmora.gateway.batches.state import KEPT_MS, Batch, File
from modelmora.gateway.caller import caller
from modelmora.gateway.calls.jobs import Job
from modelmora.gateway.cluster.administering import Administering, Meant, Purged, Replayed
from modelmora.gateway.hall import Ask, Batches, Changing, Hall, Heard, Wish
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.limiter import UNLIMITED, Limiter
from modelmora.gateway.rights.permits import Permits
from modelmora.gateway.shelf import Shelf
from modelmora.kafka.leases import NodeLease
from modelmora.kafka.orders import Order
from modelmora.kafka.reading.newest import Key, Page
from modelmora.kafka.reading.reader import Record
from modelmora.messages import (
    ControlVerb,
    Health,
    InferenceResult,
    ProgressEvent,
    RegistryRecord,
)
from modelmora.records import Entry, Registry
from modelmora.records.verbs import takes_over
from modelmora.settings import ModelConfig
from modelmora.settings.canaries import CanaryPlan
from modelmora.settings.routes import Route
from modelmora.telemetry.health import Verdict
from modelmora.web.problems import DoorCode

REQUESTS = (Verb.INFER, Verb.STREAM)
ORDERS = {
    ControlVerb.LOAD: Verb.LOAD,
    ControlVerb.WARM_UP: Verb.LOAD,
    ControlVerb.PIN: Verb.LOAD,
    ControlVerb.UNLOAD: Verb.UNLOAD,
    ControlVerb.UNPIN: Verb.UNLOAD,
}


class Permitted:
    """Implements `hall.Hall` by another one.

    Raises Refusal (`forbidden`, `rate_limited`) beside what that does.

    What is a caller's own it may always take back: that needs no right.
    """

    def __init__(
        self, hall: Hall, permits: Permits, metrics: Metrics, limiter: Limiter = UNLIMITED
    ) -> None:
        self._hall = hall
        self._permits = permits
        self._limiter = limiter
        self._metrics = metrics
        self.shelf = Shelf(hall.shelf.objects, lambda: permits.check_any(REQUESTS))
        self.registrar: Changing = _Registrar(hall.registrar, permits)
        self.batches: Batches = _Batches(hall.batches, permits)
        self.administration: Administering = _Administration(hall.administration, permits)

    async def infer(self, ask: Ask, heard: Heard | None = None) -> InferenceResult:
        """Needs `infer`, or `stream` where it wants progress."""
        try:
            charge = await self._admit(ask)
        except Refusal as refusal:
            self._metrics.refused(ask.door, refusal.code)
            raise
        try:
            with self._given_back(ask, charge):
                result = await self._hall.infer(ask, heard)
        except asyncio.CancelledError:
            if ask.job and ask.request_id:  # which goes on
                self._limiter.follow(ask, ask.request_id, charge)
            raise
        self._limiter.settle(ask, charge, result)
        return result

    async def submit(self, ask: Ask) -> Job:
        """Needs what `infer` needs."""
        charge = await self._admit(ask)
        with self._given_back(ask, charge):
            job = await self._hall.submit(ask)
        self._limiter.follow(ask, job.request_id, charge)
        return job

    async def watch(self, request_id: str) -> AsyncGenerator[Job | ProgressEvent | None]:
        """Needs `jobs.read` of the job's model."""
        async with aclosing(self._hall.watch(request_id)) as coming:
            async for told in coming:
                if isinstance(told, Job):
                    self._permits.check(Verb.JOBS_READ, told.model, request_id=request_id)
                yield told

    async def outcome(self, request_id: str) -> InferenceResult:
        """Needs `jobs.read` of the job's model."""
        async with aclosing(self.watch(request_id)) as coming:
            await anext(coming)
        return await self._hall.outcome(request_id)

    async def cancel(self, request_id: str) -> Job:
        """Takes back what is the caller's own."""
        return await self._hall.cancel(request_id)

    async def order(self, wish: Wish) -> Order:
        """Needs `load` or `unload`."""
        self._permits.check(ORDERS[wish.verb], wish.model)
        return await self._hall.order(wish)

    @contextmanager
    def _given_back(self, ask: Ask, charge: Charge | None) -> Iterator[None]:
        try:
            yield
        except Refusal as refusal:
            self._limiter.refused(ask, charge, refusal)
            raise

    async def _admit(self, ask: Ask) -> Charge | None:
        self._permits.check(
            asking(progress=ask.progress),
            ask.model,
            ask.lane,
            principal=ask.principal,
            request_id=ask.request_id,
        )
        return await self._limiter.charge(ask)

    def hold(self, size: int, to: int = 0) -> None:
        """As the hall has it."""
        self._hall.hold(size, to)

    def release(self, size: int) -> None:
        """As the hall has it."""
        self._hall.release(size)

    def faults(self) -> tuple[str, ...]:
        """As the hall has it."""
        return self._hall.faults()

    def verdict(self) -> Verdict:
        """As the hall has it."""
        return self._hall.verdict()

    def models(self) -> tuple[RegistryRecord, ...]:
        """As the hall has it."""
        return self._hall.models()

    def health(self) -> Mapping[str, Health]:
        """As the hall has it."""
        return self._hall.health()

    def status(self) -> Mapping[str, NodeLease]:
        """As the hall has it."""
        return self._hall.status()


class _Registrar:
    """The registry, changed by who may."""

    def __init__(self, registrar: Changing, permits: Permits) -> None:
        self._registrar = registrar
        self._permits = permits
        self._check = permits.check

    @property
    def state(self) -> Registry:
        """As it was read."""
        return self._registrar.state

    async def register(self, config: ModelConfig) -> tuple[Entry, bool]:
        """Needs `install`, and `route` where other versions answer otherwise from then on."""
        self._check(Verb.INSTALL, f"{config.name}@{config.version}")
        if takes_over(self.state, config):
            self._check(Verb.ROUTE, config.name)
        return await self._registrar.register(config)

    async def update(
        self, name: str, version: str, changes: Mapping[str, Any], base: int | None = None
    ) -> Entry:
        """Needs `install`."""
        self._check(Verb.INSTALL, f"{name}@{version}")
        return await self._registrar.update(name, version, changes, base)

    async def retire(self, name: str, version: str, base: int | None = None) -> Entry:
        """Needs `install`."""
        self._check(Verb.INSTALL, f"{name}@{version}")
        return await self._registrar.retire(name, version, base)

    async def activate(self, name: str, version: str) -> None:
        """Needs `route`."""
        self._check(Verb.ROUTE, name)
        await self._registrar.activate(name, version)

    async def set_route(self, name: str, route: Route, base: int | None = None) -> None:
        """Needs `route`."""
        self._check(Verb.ROUTE, name)
        await self._registrar.set_route(name, route, base)

    async def start_canary(self, name: str, plan: CanaryPlan) -> None:
        """Needs `route`."""
        self._check(Verb.ROUTE, name)
        await self._registrar.start_canary(name, plan)

    async def abort_canary(self, name: str) -> None:
        """Needs `route`."""
        self._check(Verb.ROUTE, name)
        await self._registrar.abort_canary(name)

    async def make_default(self, name: str) -> None:
        """Needs `route`."""
        self._check(Verb.ROUTE, name)
        await self._registrar.make_default(name)

    def told(self) -> Told:
        """Needs `admin`."""
        self._check(Verb.ADMIN)
        return self._registrar.told()

    async def tell(self, record: RegistryRecord | None) -> None:
        """Needs `admin`, and leaves it to the caller, so that nobody shuts all out by a slip."""
        self._check(Verb.ADMIN)
        if record:
            who = caller.get()
            if not self._permits.ruling.with_record(record).decide(who, Verb.ADMIN).allowed:
                message = f"{who} would not be admin any more; grant admin to {who} first"
                raise Refusal(DoorCode.CONFLICT, message)
        await self._registrar.tell(record)


class _Batches:
    """Files and batches, read by who may; what each line asks is decided when it is asked."""

    def __init__(self, batches: Batches, permits: Permits) -> None:
        self._batches = batches
        self._check = permits.check_any

    async def add_file(self, path: Path, name: str, kept_ms: int = KEPT_MS) -> File:
        """Needs `infer` of any model."""
        self._check((Verb.INFER,))
        return await self._batches.add_file(path, name, kept_ms)

    def files(self) -> list[File]:
        """Needs `jobs.read` of any model."""
        self._check((Verb.JOBS_READ,))
        return self._batches.files()

    async def file(self, file_id: str) -> File:
        """Needs `jobs.read` of any model."""
        self._check((Verb.JOBS_READ,))
        return await self._batches.file(file_id)

    def content(self, file: File) -> AsyncGenerator[bytes]:
        """Needs `jobs.read` of any model."""
        self._check((Verb.JOBS_READ,))
        return self._batches.content(file)

    async def delete_file(self, file_id: str) -> None:
        """Takes back what is the caller's own."""
        await self._batches.delete_file(file_id)

    async def create(
        self, file_id: str, endpoint: str, metadata: Mapping[str, str] | None
    ) -> Batch:
        """Needs `infer` of any model."""
        self._check((Verb.INFER,))
        return await self._batches.create(file_id, endpoint, metadata)

    def batches(self) -> list[Batch]:
        """Needs `jobs.read` of any model."""
        self._check((Verb.JOBS_READ,))
        return self._batches.batches()

    async def batch(self, batch_id: str) -> Batch:
        """Needs `jobs.read` of any model."""
        self._check((Verb.JOBS_READ,))
        return await self._batches.batch(batch_id)

    async def cancel(self, batch_id: str) -> Batch:
        """Takes back what is the caller's own."""
        return await self._batches.cancel(batch_id)


class _Administration:
    """Dead letters of the models for which the caller has the right, and the audit."""

    def __init__(self, administration: Administering, permits: Permits) -> None:
        self._administration = administration
        self._permits = permits

    async def letters(
        self, limit: int, wanted: Wanted, before: Key | None = None, may: May = anything
    ) -> Page[DeadLetter]:
        """Needs `dlq.read`."""
        may = self._of(Verb.DLQ_READ)
        return await self._administration.letters(limit, wanted, before, may)

    async def letter(
        self, which: str, *, content: bool = False, may: May = anything
    ) -> list[tuple[DeadLetter, Record]]:
        """Needs `dlq.read`; to show what a caller has sent `admin` too."""
        may = self._of(Verb.DLQ_READ)
        if content:
            self._permits.check(Verb.ADMIN)
        return await self._administration.letter(which, content=content, may=may)

    async def replay(
        self, meant: Meant, *, again: bool = False, dry_run: bool = False, may: May = anything
    ) -> Replayed:
        """Needs `dlq.replay`."""
        may = self._of(Verb.DLQ_REPLAY)
        return await self._administration.replay(meant, again=again, dry_run=dry_run, may=may)

    async def purge(self, meant: Meant, *, dry_run: bool = False, may: May = anything) -> Purged:
        """Needs `dlq.replay`."""
        may = self._of(Verb.DLQ_REPLAY)
        return await self._administration.purge(meant, dry_run=dry_run, may=may)

    async def audit(
        self,
        limit: int,
        wanted: reading.Wanted,
        since: int | None = None,
        before: Key | None = None,
    ) -> Page[reading.Entry]:
        """Needs `audit.read`."""
        self._permits.check(Verb.AUDIT_READ)
        return await self._administration.audit(limit, wanted, since, before)

    async def verify(self) -> Report:
        """Needs `audit.read`."""
        self._permits.check(Verb.AUDIT_READ)
        return await self._administration.verify()

    def _of(self, verb: Verb) -> May:
        """Which letters the caller may; raises Refusal where that is none of any model."""
        self._permits.check_any((verb,))
        may = self._permits.may(verb)
        return lambda letter: may(letter.model)
