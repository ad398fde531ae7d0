"""Which models there are: the compacted registry topic, read in full and followed."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from modelmora.audit.auditor import Tell, untold
from modelmora.errors import Undecodable, Unreachable
from modelmora.gateway.caller import caller
from modelmora.gateway.nodes import NodeWatch
from modelmora.kafka.events import event_record
from modelmora.kafka.leases import Leases, NodeLease
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.tail import Tail
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Record
from modelmora.messages import (
    EventKind,
    Health,
    LifecycleEvent,
    Parameter,
    RegistryRecord,
    State,
)
from modelmora.records import Registry
from modelmora.records.audited import model_of, reason_of
from modelmora.records.reading import Reading
from modelmora.records.registrar import Registrar
from modelmora.routing import Steps, main_version, routes
from modelmora.settings import Settings
from modelmora.text import counted, did_you_mean, printable, shorten
from modelmora.wire import decode_registry

log = structlog.get_logger(__name__)
READ_S = 30.0
SHOWN = 120
LISTED = "see `modelmora list` or GET /models"
_NEAREST = (
    State.READY,
    State.LOADING,
    State.COLD,
    State.DRAINING,
    State.LEAVING,
    State.FAILED,
    State.QUARANTINED,
)
"""Where a request is answered soonest, first."""
NOWHERE = "no node that runs has its files"


class Directory:
    """The registry as this process has read it; complete from the moment `start` returns.

    One that is made anew takes nothing away: its nodes tell again what it held.
    """

    def __init__(self, settings: Settings, pulse: Pulse, schemas: Schemas | None = None) -> None:
        self._namespace = settings.namespace
        self._topic = Topic.REGISTRY.full(settings.namespace)
        self._tail = Tail(settings, pulse, self.handle, schemas, on_anew=self._on_anew)
        self.state = Registry()
        """The registry as far as it was read."""
        self._on_fact: Callable[[bytes, RegistryRecord | None, int], None] = lambda *_: None
        self._beginning = False
        """While all is read that there is: looked at once it has been."""
        self._leases = Leases()
        self._reading = Reading(self.state, settings, "gateway")
        self._pulse = pulse
        self._names: frozenset[str] = frozenset()
        self._listing: tuple[RegistryRecord, ...] = ()
        self._limits: Mapping[str, int] = {}
        self._status: Mapping[str, NodeLease] = {}
        self._health: Mapping[str, Health] = {}
        self._watch: NodeWatch | None = None
        self._reading_watch: NodeWatch | None = None
        """The same for nodes that read partitions."""
        self._changed = asyncio.Event()

    def registrar(
        self, send: Callable[[Record], None], writer: str, audit: Tell = untold
    ) -> Registrar:
        """Who changes the registry that is read here; `send` takes records to write."""

        def audited(verb: str, record: RegistryRecord) -> None:
            audit(verb, caller.get(), model=model_of(record), reason=reason_of(record))

        def tell(kind: EventKind, model: tuple[str, str], facts: Mapping[str, Parameter]) -> None:
            now_ms = time.time_ns() // 1_000_000
            event = LifecycleEvent(str(uuid.uuid4()), kind, writer, now_ms, *model, facts)
            send(event_record(event, self._namespace, "gateways", lambda _: None))

        made = Registrar(self.state, send, self._topic, writer, tell, audited)
        self._on_fact = made.heard
        return made

    async def start(self) -> None:
        """Read all there is, then follow. Raises Unreachable when that takes too long."""
        self._beginning = True
        shape = self._pulse.shapes.get(self._topic)
        place = TopicPartition(self._topic, 0)
        asked = await self._reading.begin(shape.id if shape else "")
        begun = await self._tail.start({self._topic: [0]}, "beginning", {place: asked})
        self._reading.begun(asked, begun[place])
        try:
            async with asyncio.timeout(READ_S):
                await self._tail.caught_up()
        except TimeoutError:
            raise Unreachable(f"{self._topic} was not read within {READ_S:.0f} s") from None
        self._beginning = False
        self._look_anew(True)
        now = asyncio.get_running_loop().time()
        self._watch, self._reading_watch = NodeWatch(now), NodeWatch(now)
        # What was read until now is of any age: who may run has its whole lease to tell so again.
        if self._leases.living():
            self._hear()

    async def stop(self) -> None:
        """Stop following."""
        await self._tail.stop()
        await self._reading.end()

    def fault(self) -> str | None:
        """Why the registry is not followed, None while it is."""
        return self._tail.fault

    async def until(self, holds: Callable[[], bool], most_s: float) -> None:
        """Wait until something holds of what is read here, but no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while not holds():
                    changed = self._changed
                    await changed.wait()

    def look(self, hearing: bool) -> None:
        """To be called twice a second at least; `hearing`: whether the broker answers."""
        self._reading.keep()
        now, hearing = asyncio.get_running_loop().time(), hearing and not self.fault()
        for watch in (self._watch, self._reading_watch):
            if watch:
                watch.look(hearing, now)

    def absent_s(self) -> float:
        """How long no node has told that it runs; 0 while one does."""
        if self._watch is None:
            return 0.0
        return self._watch.absent_s(asyncio.get_running_loop().time())

    def idle_s(self) -> float:
        """How long no node has told that it reads any partition; 0 while one does."""
        if self._reading_watch is None:
            return 0.0
        return self._reading_watch.absent_s(asyncio.get_running_loop().time())

    def knows(self, model: str) -> bool:
        """Whether the registry has this `name` or `name@version`."""
        return model in self._names

    def models(self) -> tuple[RegistryRecord, ...]:
        """The models, by name and version."""
        return self._listing

    def health(self) -> Mapping[str, Health]:
        """How each model is on the node of those that run where it is best, by name@version.

        What the last node has told is true no longer than it ran.
        """
        return {} if self.absent_s() else self._health

    def status(self) -> Mapping[str, NodeLease]:
        """What each node that runs has told last, by its name."""
        return {} if self.absent_s() else self._status

    def max_inputs(self, model: str) -> int | None:
        """How many inputs of `name` or `name@version` one result can answer at most, if known."""
        return self._limits.get(model)

    def unknown(self, model: str) -> str:
        """What to tell who asks for a model that is not there."""
        name, _, version = model.partition("@")
        versions = [fact.version for fact in self._listing if fact.name == name]
        shown = shorten(printable(model), SHOWN)
        if version and versions:
            has = f"{counted(len(versions), 'version')}: {', '.join(versions)}"
            return f"{shown} is not served; {name} has {has}"
        names = {fact.name for fact in self._listing}
        near = did_you_mean(name, names)
        return f"{shown or 'a model without a name'} is not served; {LISTED}{near}"

    def handle(self, record: ConsumerRecord) -> None:
        """Take one record; one that lost against another changes nothing."""
        key = record.key or b""
        try:
            fact = None if record.value is None else decode_registry(record.value)
        except Undecodable as error:
            log.warning("registry record skipped", offset=record.offset, code=error.code)
            return
        self._reading.note(key, record.offset, record.timestamp)
        changed = False
        if not self._leases.take(key, fact, record.timestamp):
            changed = self.state.take(key, fact, record.offset, record.timestamp)
            self._on_fact(key, fact, record.offset)
        else:
            self._hear()
        if not self._beginning:
            self._look_anew(changed)

    def _on_anew(self, _: str) -> None:
        self.state.anew()
        self._reading.anew()

    def _hear(self) -> None:
        if self._watch is None or self._reading_watch is None:
            return
        nodes, now = self._leases.living(), asyncio.get_running_loop().time()
        self._watch.told(max((each.lease_ms / 1000 for each in nodes), default=None), now)
        reading = (each.lease_ms / 1000 for each in nodes if each.partitions)
        self._reading_watch.told(max(reading, default=None), now)

    def _look_anew(self, changed: bool) -> None:
        """What nodes tell; `changed`: of the registry another counts now.

        Nodes renew their leases all the time, and seldom with another word on their models.
        """
        nodes = self._leases.living()
        known, self._status = self._status, {node.node: node for node in nodes}
        if changed or not _offer_the_same(known, self._status):
            self._index(nodes)
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    def _index(self, nodes: Sequence[NodeLease]) -> None:
        """What may be called: what is registered, and what a node that runs still serves."""
        served = {model for node in nodes for model in node.serves}
        self._listing = self.state.models()
        called = {f"{model.name}@{model.version}" for model in self._listing} | served
        self._names = frozenset(called | {each.partition("@")[0] for each in called})
        self._limits = _limits(self._listing, self.state.routes())
        found: dict[str, list[Health]] = {}
        for node in nodes:
            for model, health in node.models().items():
                found.setdefault(model, []).append(health)
        absent = dict.fromkeys(called if nodes else (), Health(State.FAILED, NOWHERE))
        self._health = absent | {model: min(each, key=_nearness) for model, each in found.items()}


def _offer_the_same(known: Mapping[str, NodeLease], nodes: Mapping[str, NodeLease]) -> bool:
    return known.keys() == nodes.keys() and all(
        each is known[name] or each.offers(known[name]) for name, each in nodes.items()
    )


def _nearness(health: Health) -> int:
    return _NEAREST.index(health.state)


def _limits(models: Sequence[RegistryRecord], steps: Mapping[str, Steps]) -> dict[str, int]:
    """By name@version, and by name the most that one of the versions takes that answer for it.

    Where it is known; which of them answers is for the node to say.
    """
    limits = {f"{fact.name}@{fact.version}": fact.max_inputs for fact in models}
    active = {name: main_version(each[-1][1]) for name, each in steps.items()}
    for name, key in routes(models, active).names.items():
        versions = {version for _, route in steps.get(name, ()) for version in route.versions}
        most = [limits.get(f"{name}@{version}") for version in versions or {key[1]}]
        known = [each for each in most if each is not None]
        limits[name] = max(known) if len(known) == len(most) else None
    return {name: most for name, most in limits.items() if most is not None}
