"""A hall without topics: answers as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import Any

from modelmora.errors import Code
from modelmora.gateway.batches.register import Register
from modelmora.gateway.caller import caller
from modelmora.gateway.calls.jobs import Job, JobState
from modelmora.gateway.hall import Ask, Heard, Wish
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.shelf import Shelf
from modelmora.kafka.leases import NodeLease
from modelmora.kafka.orders import Answer, Order
from modelmora.kafka.writing.publisher import Record
from modelmora.messages import (
    BatchRecord,
    Content,
    ErrorInfo,
    EventKind,
    Health,
    InferenceResult,
    Parameter,
    ProgressEvent,
    RegistryKind,
    RegistryRecord,
    Source,
    State,
    Status,
    Timings,
)
from modelmora.objects import Objects
from modelmora.records import Registry, key_of
from modelmora.records.registrar import Registrar
from modelmora.settings.objects import ObjectSettings
from modelmora.telemetry.health import Sign, Verdict, judge
from modelmora.testing.objects import MemoryStore
from modelmora.web.problems import DoorCode
from modelmora.wire import decode_batch, decode_registry, encode_batch
from tests.unit.gateway.administered import FakeAdministration

LIMIT = 1000
"""The largest record, in bytes, of a door that tests ask."""


class LoopedRegistry:
    """A registry whose log is a list: what is written is read at once, behind `before`."""

    def __init__(self, *names: str) -> None:
        self.log: list[tuple[bytes, RegistryRecord]] = []
        self.before: list[RegistryRecord] = []
        """Records that another writes, just before our next one."""
        self.told: list[tuple[EventKind, tuple[str, str]]] = []
        self.audited: list[tuple[str, str]] = []
        """What was done to which name."""
        self.registrar = Registrar(
            Registry(),
            self._send,
            "ns.registry",
            "gw",
            lambda kind, key, _: self.told.append((kind, key)),
            lambda verb, record: self.audited.append((verb, record.name)),
        )
        for name in names:
            self.register(name)

    def register(self, name: str, task: str = "echo", **more: Any) -> None:
        """Somebody has registered this model."""
        self.write(RegistryRecord(RegistryKind.MODEL, name, "1", task, "tests", "tests", **more))
        self.write(RegistryRecord(RegistryKind.ROUTE, name, "1", "", "", "tests"))

    def write(self, record: RegistryRecord) -> None:
        key, offset = key_of(record), len(self.log)
        self.log.append((key, record))
        self.registrar.state.take(key, record, offset)
        self.registrar.heard(key, record, offset)

    def _send(self, record: Record) -> None:
        for other in self.before:
            self.write(other)
        self.before.clear()
        self.write(decode_registry(record.value))


def finished(request_id: str, *outputs: Content, **more: Any) -> tuple[Job, InferenceResult]:
    """A job that is done, with its outcome; `more` is of the outcome."""
    job = Job(request_id, "m@1", JobState.COMPLETED, 1, "1", ended_at=2, held_until=3_600_002)
    source = Source("t", 0, 0)
    result = InferenceResult(
        request_id, Status.COMPLETED, "m", "1", source, outputs=outputs, **more
    )
    return job, result


def register_of(shelf: Shelf, told: list[BatchRecord] | None = None) -> Register:
    """A register whose log is a list: what is written is read at once, by itself alone."""
    log = [] if told is None else told

    async def write(record: BatchRecord) -> None:
        log.append(record)
        register.take(decode_batch(encode_batch(record)))

    async def catch_up() -> None:
        """It has read all."""

    register = Register(shelf, write, catch_up)
    return register


class FakeHall:
    """Implements `hall.Hall`: model `echo` answers, every other is unknown."""

    def __init__(self, outputs: tuple[Content, ...] | None = None, limit: int = 1 << 20) -> None:
        self.asks: list[Ask] = []
        self.wishes: list[Wish] = []
        self.outputs = outputs
        self.refusal: Exception | None = None
        self.refuses: Callable[[Ask], bool] = lambda _: False
        """Which requests are refused at once, even where others are blocked."""
        self.blocked: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.gone = asyncio.Event()
        self.held = 0
        self.limit = limit
        self.told: tuple[str, ...] = ()
        self.reasons: dict[str, str] = {}
        self.holding: dict[str, str] = {}
        self.events: tuple[ProgressEvent, ...] = ()
        """What is told of each request that wants progress."""
        self.answers: dict[str, tuple[Content, ...]] = {}
        """Further models, and what each answers."""
        self.settings: Mapping[str, Parameter] = {}
        self.registry = LoopedRegistry("echo")
        self.store = MemoryStore()
        self.shelf = Shelf(Objects(self.store, ObjectSettings()))
        self.batches = register_of(self.shelf)
        self.administration = FakeAdministration()
        self.jobs: dict[tuple[str, str], tuple[Job, InferenceResult | None]] = {}
        """The jobs by principal and id, each with what it ends as when it is watched."""

    async def infer(self, ask: Ask, heard: Heard | None = None) -> InferenceResult:
        self.asks.append(ask)
        for event in self.events if heard and ask.progress else ():
            assert heard
            heard(event)
        if self.refuses(ask):
            raise Refusal(Code.BUSY, "come again")
        await self._enter()
        if self.refusal:
            raise self.refusal
        outputs = ask.inputs if self.outputs is None else self.outputs
        if ask.model.partition("@")[0] != "echo":
            name = ask.model.partition("@")[0]
            outputs = self.answers.get(ask.model, self.answers.get(f"{name}@1", ()))
        if not outputs:
            raise Refusal(Code.UNKNOWN_MODEL, "no such model")
        return InferenceResult(
            ask.request_id or "made-here",
            Status.COMPLETED,
            ask.model.partition("@")[0],
            "1",
            Source("t", 0, 0),
            timings=Timings(1.0, 2.0, 3.0, 6.0),
            settings=self.settings,
            outputs=outputs,
        )

    async def submit(self, ask: Ask) -> Job:
        request_id = ask.request_id or f"job-{len(self.jobs)}"
        key = (ask.principal, request_id)
        if key not in self.jobs:
            result = await self.infer(replace(ask, request_id=request_id))
            job = Job(request_id, ask.model, JobState.QUEUED, 1, position=0)
            self.jobs[key] = (job, result)
        return self.jobs[key][0]

    async def watch(self, request_id: str) -> AsyncGenerator[Job | ProgressEvent | None]:
        job, result = self._found(request_id)
        yield job
        if job.state.ended:
            return
        for event in self.events:
            yield event
        if self.blocked:
            await self.blocked.wait()
        job = replace(job, state=JobState.COMPLETED, version="1", ended_at=2, held_until=3_600_002)
        self.jobs[caller.get(), request_id] = (job, result)
        yield job

    async def outcome(self, request_id: str) -> InferenceResult:
        job, result = self._found(request_id)
        if not job.state.ended:
            raise Refusal(DoorCode.NOT_FINISHED, "it is not finished")
        if job.error:
            raise Refusal(job.error.code, job.error.message, request_id=request_id)
        if result is None:
            raise Refusal(DoorCode.GONE, "it is gone")
        return result

    async def cancel(self, request_id: str) -> Job:
        job, _ = self._found(request_id)
        if not job.state.ended:
            error = ErrorInfo(Code.CANCELLED, "cancelled by its caller")
            job = replace(job, state=JobState.CANCELLED, ended_at=2, error=error)
            self.jobs[caller.get(), request_id] = (job, None)
        return job

    def _found(self, request_id: str) -> tuple[Job, InferenceResult | None]:
        try:
            return self.jobs[caller.get(), request_id]
        except KeyError:
            raise Refusal(DoorCode.NOT_FOUND, "there is no such job") from None

    async def _enter(self) -> None:
        self.entered.set()
        if self.blocked:
            try:
                await self.blocked.wait()
            except asyncio.CancelledError:
                self.gone.set()
                raise

    async def order(self, wish: Wish) -> Order:
        self.wishes.append(wish)
        await self._enter()
        if self.refusal:
            raise self.refusal
        order = Order(wish.verb, 7)
        if wish.wait_s:
            answer = Answer("n1", f"{wish.model}@1", State.READY, done=True)
            order.answers[answer.node, answer.model] = answer
        return order

    def status(self) -> Mapping[str, NodeLease]:
        health = self.health()
        states = {model: each.state.value for model, each in health.items()}
        failed = {model: each.reason for model, each in health.items() if each.reason}
        serves = {model: "echo" for model in health if model not in failed}
        return {"n1": NodeLease("n1", serves, (), 0, 1000, failed, states, self.holding)}

    def hold(self, size: int, to: int = 0) -> None:
        if self.held + size > self.limit:
            raise Refusal(Code.BUSY, "too many bytes")
        self.held += size

    def release(self, size: int) -> None:
        self.held -= size

    def faults(self) -> tuple[str, ...]:
        return self.told

    def verdict(self) -> Verdict:
        return judge(Sign("broker", fault) for fault in self.told)

    def models(self) -> tuple[RegistryRecord, ...]:
        return self.registrar.state.models()

    @property
    def registrar(self) -> Registrar:
        return self.registry.registrar

    def health(self) -> Mapping[str, Health]:
        failed = {f"{name}@1": Health(State.FAILED, why) for name, why in self.reasons.items()}
        return {"echo@1": Health(State.READY), **failed}
