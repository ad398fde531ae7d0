"""What a gateway sees of itself and of the nodes, and what of it makes it unwell or degraded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from math import inf

from modelmora.gateway.batches.following import Following
from modelmora.gateway.calls.replies import Replies
from modelmora.gateway.calls.waiting import WaitingRoom
from modelmora.gateway.calls.writing import Writer
from modelmora.gateway.hall import STOPPING
from modelmora.gateway.models import Directory
from modelmora.gateway.probes.prober import Prober, Told
from modelmora.gateway.shelf import Shelf
from modelmora.kafka.changes import Changes
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.schema_registry import Schemas
from modelmora.kafka.writing.publisher import Publisher
from modelmora.settings import Settings
from modelmora.telemetry.health import Sign, Verdict, judge

NOTHING = Told()
NO_NODE = "no node tells that it runs"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at one moment; ages in seconds, and as it is where all is well."""

    stopping: bool = False
    broker: bool = True
    """It answers, and the producer has a connection."""
    refused: str | None = None
    """Why it lets nobody of ours in, where it does not answer for that."""
    answered_s: float = 0.0
    """Since the broker has last answered a question."""
    replies: str | None = None
    """Why outcomes do not arrive."""
    registry: str | None = None
    """Why the registry is not read."""
    absent_s: float = 0.0
    """For how long no node has told that it runs."""
    idle_s: float = 0.0
    """For how long no node has read any partition."""
    on_demand: bool = False
    """Whether nodes come when requests wait."""
    silent: frozenset[str] = frozenset()
    """Topics that do not acknowledge what is written."""
    unacknowledged_s: float = 0.0
    unaccepted_s: float = 0.0
    """How old the oldest request is that the broker has, and no node has accepted."""
    stalled_s: float = 0.0
    """How long the loop was waited for, as another thread has seen it of late."""
    batches: str | None = None
    store: str | None = None
    schemas: str | None = None
    probes: Told = NOTHING
    topics: str | None = None
    """What has become of topics of late."""


def bears_s(settings: Settings, *, known: bool) -> float:
    """For how long (s) no node may run before requests of a model are refused.

    One that is `known` may wait a little: nodes come back, and serve what lies there.
    """
    if not known:
        return 0.0
    return inf if settings.nodes_on_demand else settings.timing.session_timeout_s


def signs_of(seen: Seen, session_s: float) -> tuple[Sign, ...]:
    """What it means.

    A partition has no reader for a session at most where a node has died, so this is no fault.
    That a request is not accepted is none either: a line may be long, and is read in its time.
    Where nodes come when requests wait, that none is there is as it should be, and the first one
    takes its time before it reads.
    """
    idle_s = 0.0 if seen.absent_s else seen.idle_s
    lacking = seen.absent_s and not seen.on_demand
    return (
        Sign("running", STOPPING if seen.stopping else None),
        Sign("broker", None if seen.broker else seen.refused or "the broker does not answer"),
        Sign("replies", seen.replies),
        Sign("registry", seen.registry),
        Sign("nodes", NO_NODE if lacking else None),
        Sign(
            "nodes",
            age_s=idle_s,
            limit_s=2 * session_s,
            late="no node has read any partition",
            needed=not seen.on_demand,
        ),
        *(
            Sign("lanes", f"{topic} does not acknowledge what is written")
            for topic in sorted(seen.silent)
        ),
        *(Sign("lanes", fault) for fault in seen.probes.silent),
        Sign("lanes", age_s=seen.probes.oldest_s, age_of="probe"),
        Sign("lanes", age_s=seen.unacknowledged_s, age_of="unacknowledged"),
        Sign("lanes", age_s=seen.unaccepted_s, age_of="unaccepted"),
        Sign("broker", age_s=seen.answered_s, age_of="answer"),
        Sign("running", age_s=seen.stalled_s, age_of="loop"),
        Sign("batches", seen.batches, needed=False),
        Sign("object_store", seen.store, needed=False),
        Sign("schema_registry", seen.schemas, needed=False),
        Sign("probes", seen.probes.late, needed=False),
        Sign("topics", seen.topics, needed=False),
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """What a gateway consists of, as far as it can be unwell."""

    pulse: Pulse
    publisher: Publisher
    replies: Replies
    directory: Directory
    prober: Prober
    writer: Writer
    room: WaitingRoom
    following: Following
    shelf: Shelf
    schemas: Schemas | None


class Wellness:
    """Looks at the parts of a gateway, whose requests go onto the topics `lanes`."""

    def __init__(self, settings: Settings, parts: Parts, lanes: Set[str]) -> None:
        self._session_s = settings.timing.session_timeout_s
        self._on_demand = settings.nodes_on_demand
        self._parts = parts
        self._lanes = lanes
        self._changes = Changes()
        self.stopping = False
        self.stalled_s: Callable[[], float] = lambda: 0.0
        """The longest that the loop was waited for of late."""

    def verdict(self) -> Verdict:
        """How the gateway is, in full."""
        return judge(signs_of(self._seen(), self._session_s))

    def look(self) -> None:
        """To be called twice a second at least, so that it is known since when what was so."""
        parts = self._parts
        hearing = not self.broker_fault()
        parts.directory.look(hearing)
        reads = not (parts.directory.absent_s() or parts.directory.idle_s())
        parts.prober.look(hearing and reads and not self.stopping)
        self._changes.look(parts.pulse.shapes, time.monotonic())

    def broker_fault(self) -> str | None:
        """Why nothing can be asked and answered over the broker; None while it can."""
        if not (self._parts.pulse.alive and self._parts.publisher.connected):
            return "the broker does not answer"
        return self._parts.replies.fault()

    def _seen(self) -> Seen:
        parts, now = self._parts, asyncio.get_running_loop().time()
        objects = parts.shelf.objects
        return Seen(
            stopping=self.stopping,
            broker=parts.pulse.alive and parts.publisher.connected,
            refused=parts.pulse.refused,
            answered_s=parts.pulse.answered_s,
            replies=parts.replies.fault(),
            registry=parts.directory.fault(),
            absent_s=parts.directory.absent_s(),
            idle_s=parts.directory.idle_s(),
            on_demand=self._on_demand,
            silent=frozenset(parts.writer.silent),
            unacknowledged_s=parts.publisher.oldest_s(self._lanes),
            unaccepted_s=parts.room.unaccepted_s(now),
            stalled_s=self.stalled_s(),
            batches=parts.following.fault(),
            store=objects.last.fault if objects else None,
            schemas=parts.schemas.last.fault if parts.schemas else None,
            probes=parts.prober.told(),
            topics=self._changes.said(time.monotonic()),
        )
