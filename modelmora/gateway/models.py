"""Which models there are: the compacted registry topic, read in full and followed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import structlog
from aiokafka import ConsumerRecord

from modelmora.errors import Undecodable, Unreachable
from modelmora.gateway.nodes import NodeWatch
from modelmora.kafka.leases import Leases, NodeLease
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.tail import Tail
from modelmora.kafka.topics import Topic
from modelmora.messages import Health, RegistryKind, RegistryRecord, State
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
_CALLABLE = (RegistryKind.MODEL, RegistryKind.ROUTE)


class Directory:
    """The registry as this process has read it; complete from the moment `start` returns.

    One that is made anew takes nothing away: its nodes tell again what they serve, and what none of
    them serves is not there (see `_index`), so no request is refused meanwhile.
    """

    def __init__(self, settings: Settings, pulse: Pulse, schemas: Schemas | None = None) -> None:
        self._topic = Topic.REGISTRY.full(settings.namespace)
        self._tail = Tail(settings, pulse, self.handle, schemas)
        self._entries: dict[bytes, tuple[int, RegistryRecord]] = {}
        self._leases = Leases()
        self._names: frozenset[str] = frozenset()
        self._listing: tuple[RegistryRecord, ...] = ()
        self._limits: Mapping[str, int] = {}
        self._health: Mapping[str, Health] = {}
        self._watch: NodeWatch | None = None

    async def start(self) -> None:
        """Read all there is, then follow. Raises Unreachable when that takes too long."""
        await self._tail.start({self._topic: [0]}, "beginning")
        try:
            async with asyncio.timeout(READ_S):
                await self._tail.caught_up()
        except TimeoutError:
            raise Unreachable(f"{self._topic} was not read within {READ_S:.0f} s") from None
        self._watch = NodeWatch(asyncio.get_running_loop().time())
        # What was read until now is of any age: who may run has its whole lease to tell so again.
        if self._leases.living():
            self._hear(self._watch)

    async def stop(self) -> None:
        """Stop following."""
        await self._tail.stop()

    def fault(self) -> str | None:
        """Why the registry is not followed, None while it is."""
        return self._tail.fault

    def look(self, hearing: bool) -> None:
        """To be called twice a second at least; `hearing`: whether the broker answers."""
        if self._watch:
            self._watch.look(hearing and not self.fault(), asyncio.get_running_loop().time())

    def absent_s(self) -> float:
        """How long no node has told that it runs; 0 while one does."""
        if self._watch is None:
            return 0.0
        return self._watch.absent_s(asyncio.get_running_loop().time())

    def knows(self, model: str) -> bool:
        """Whether the registry has this `name` or `name@version`."""
        return model in self._names

    def models(self) -> tuple[RegistryRecord, ...]:
        """The models, by name and version."""
        return self._listing

    def health(self) -> Mapping[str, Health]:
        """How each model is on the node of those that run where it is best, by name@version."""
        return self._health

    def status(self) -> Mapping[str, Mapping[str, Health]]:
        """By the name of each node that runs, how its models are there, by name@version."""
        return {
            node.node: {
                model: health
                for model in node.serves.keys() | node.failed.keys()
                if (health := node.health(model))
            }
            for node in self._leases.living()
        }

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
        """Take one record; one that replaces another than the current is stale and ignored."""
        key = record.key or b""
        try:
            fact = None if record.value is None else decode_registry(record.value)
        except Undecodable as error:
            log.warning("registry record skipped", offset=record.offset, code=error.code)
            return
        is_lease = self._leases.take(key, fact, record.timestamp)
        if fact is None:
            self._entries.pop(key, None)
        elif not is_lease:
            current = self._entries.get(key)
            if current and fact.based_on is not None and fact.based_on != current[0]:
                return
            self._entries[key] = (record.offset, fact)
        if is_lease and self._watch:
            self._hear(self._watch)
        self._index()

    def _hear(self, watch: NodeWatch) -> None:
        leases = [node.lease_ms / 1000 for node in self._leases.living()]
        watch.told(max(leases, default=None), asyncio.get_running_loop().time())

    def _index(self) -> None:
        """A model is there while a node that runs serves it, or would if it could be loaded.

        While none runs, nobody can say: requests wait for the next one.
        """
        nodes = self._leases.living()
        served = {model for node in nodes for model in node.serves}
        failed = {model for node in nodes for model in node.failed}

        def is_there(fact: RegistryRecord) -> bool:
            if not nodes or fact.kind is not RegistryKind.MODEL:
                return fact.present
            return f"{fact.name}@{fact.version}" in served | failed

        facts = [fact for _, fact in self._entries.values() if is_there(fact)]
        callable_ = [fact for fact in facts if fact.kind in _CALLABLE]
        self._names = frozenset(
            name for fact in callable_ for name in (fact.name, f"{fact.name}@{fact.version}")
        )
        models = (fact for fact in facts if fact.kind is RegistryKind.MODEL)
        self._listing = tuple(sorted(models, key=lambda fact: (fact.name, fact.version)))
        self._limits = _limits(self._listing)
        self._health = {model: _best(nodes, model) for model in served | failed}


def _best(nodes: Iterable[NodeLease], model: str) -> Health:
    found = (node.health(model) for node in nodes)
    return min((each for each in found if each), key=lambda each: _NEAREST.index(each.state))


def _limits(models: Iterable[RegistryRecord]) -> dict[str, int]:
    """By name@version, and the highest by name: which version that means the node decides.

    A name is left out where that of a version is not known.
    """
    limits: dict[str, int | None] = {}
    for fact in models:
        most = fact.max_inputs
        limits[f"{fact.name}@{fact.version}"] = most
        known = limits.setdefault(fact.name, most)
        limits[fact.name] = max(known, most) if known is not None and most is not None else None
    return {name: most for name, most in limits.items() if most is not None}
