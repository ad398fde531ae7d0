"""What a node sees of itself, and what of it makes it well, unwell, or degraded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelmora.kafka.changes import Changes
from modelmora.resources.disk import disk_fault
from modelmora.telemetry.health import Sign, Verdict, judge
from modelmora.text import duration

if TYPE_CHECKING:
    from modelmora.node.node import Node

LOOK_S = 1.0
APART_S = 5.0
"""What this machine's clock and the broker's may differ by: a record may be told of that late."""
TWIN = "another node runs under its name: give one of them another member_id"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a node at one moment; ages in seconds, and as it is where all is well."""

    running: bool = True
    answered_s: float = 0.0
    """Since the broker has last answered a question."""
    alive: bool = True
    """Whether it has answered the last one."""
    refused: str | None = None
    """Why it lets nobody of ours in, where it does not answer for that."""
    connected: bool = True
    """Whether the producer of outcomes has a connection."""
    member: bool = True
    """By a commit that was confirmed, or by what the broker says of the group."""
    reads: bool = True
    """It has partitions, or others have all of them."""
    looked_s: float = 0.0
    """Since the broker has last said how the group and its partitions stand."""
    stands_s: float = 0.0
    """For how long the thread that reads has not come round."""
    stalled_s: float = 0.0
    """How long the loop was waited for, as another thread has seen it of late."""
    unread_s: float = 0.0
    fetched_s: float = 0.0
    """Since something of what is read was last fetched, be it nothing."""
    unacknowledged_s: float = 0.0
    untold_s: float = 0.0
    parked: str = ""
    """Why a topic takes nothing that waits for it."""
    registry: str | None = None
    """Why orders and the registry are not read."""
    lapsing_s: float = 0.0
    """Since the node's lease on the registry was last renewed."""
    zygote: bool = True
    silent_s: float = 0.0
    """For how long the zygote has answered nothing."""
    files_s: float = 0.0
    """Since the models' files were last looked at."""
    hopeless: bool = False
    """None of its models can be loaded."""
    store: str | None = None
    schemas: str | None = None
    disk: str | None = None
    careful: str | None = None
    """Why less is begun than could be."""
    twin_s: float = 0.0
    """For how long another node has surely run under this one's name."""
    ahead_s: float = 0.0
    """How far this machine's clock is ahead of the broker's."""
    topics: str | None = None
    """What has become of topics of late."""


def signs_of(seen: Seen, patience_s: float, lease_s: float) -> tuple[Sign, ...]:
    """What it means, with the time that each age is allowed."""

    def known(check: str, well: bool, fault: str) -> Sign:
        return Sign(check, None if well else fault)

    def late(check: str, age_of: str, age_s: float, what: str, limit_s: float = patience_s) -> Sign:
        return Sign(check, age_s=age_s, limit_s=limit_s, late=what, age_of=age_of)

    because = f" ({seen.parked})" if seen.parked else ""
    unwritten = f"an outcome was not acknowledged{because}"
    return (
        known("running", seen.running, "it is starting or stopping"),
        known("broker", seen.alive, seen.refused or "the broker does not answer"),
        known("broker", seen.connected, "the producer of outcomes has no connection"),
        late("broker", "answer", seen.answered_s, "the broker was not heard"),
        known("group", seen.member, "the group does not know it"),
        known("group", seen.reads, "it reads no partition, and others do not read all"),
        late("group", "look", seen.looked_s, "nobody could look at the group"),
        late("group", "turn", seen.stands_s, "the thread that reads has stood still"),
        late("requests", "unread", seen.unread_s, "records were not read"),
        late("requests", "fetch", seen.fetched_s, "nothing was fetched"),
        late("outcomes", "outcome", seen.unacknowledged_s, unwritten),
        Sign("registry", seen.registry),
        late("registry", "lease", seen.lapsing_s, "its lease was not renewed", lease_s),
        known("workers", seen.zygote, "there is no zygote"),
        late("workers", "zygote", seen.silent_s, "the zygote has not answered"),
        late("models", "files", seen.files_s, "the models' files did not answer"),
        known("models", not seen.hopeless, "none of its models can be loaded"),
        Sign("running", age_s=seen.stalled_s, age_of="loop"),
        Sign(
            "telling",
            age_s=seen.untold_s,
            limit_s=patience_s,
            late=f"progress and events were not acknowledged{because}",
            age_of="untold",
            needed=False,
        ),
        Sign("object_store", seen.store, needed=False),
        Sign("schema_registry", seen.schemas, needed=False),
        Sign("disk", seen.disk, needed=False),
        Sign("pace", seen.careful, needed=False),
        Sign("name", TWIN if seen.twin_s else None, needed=False),
        Sign("clock", clock_fault(seen.ahead_s), needed=False),
        Sign("topics", seen.topics, needed=False),
    )


def clock_fault(ahead_s: float) -> str | None:
    """What is wrong where this machine's clock is so far ahead of the broker's."""
    if abs(ahead_s) < APART_S:
        return None
    apart = duration(1000 * abs(ahead_s))
    which = "ahead of" if ahead_s > 0 else "behind"
    return f"this machine's clock is {apart} {which} the broker's: set both by NTP"


class Wellness:
    """Looks at a node; ends it where only a new process helps."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._disk: str | None = None
        self._files_at: float | None = None
        self._turns = self._vain = 0
        self._changes = Changes()
        self.stalled_s: Callable[[], float] = lambda: 0.0
        """The longest that the loop was waited for of late."""

    async def look_at_disk(self) -> None:
        """The models' files were looked at just now; so is what is left of the disk."""
        self._disk = await asyncio.to_thread(disk_fault, self._node.settings.data_dir)
        self._files_at = time.monotonic()

    async def watch(self) -> None:
        """See whether the thread that reads comes round, until the node stops.

        What counts is how often this has looked in vain, not the clock: a process that was frozen
        as a whole has not seen its thread stand still. One that waits for a broker may stand.
        """
        node = self._node
        while not node.stopping:
            self._changes.look(node.pulse.shapes, time.monotonic())
            turns = node.member.turns
            stands = 0 < turns == self._turns and node.pulse.alive
            self._vain = self._vain + 1 if stands else 0
            self._turns = turns
            if self.stands_s >= node.settings.timing.watchdog_s:
                node.fail(f"the thread that reads stands still for {self.stands_s:g} s")
            await asyncio.sleep(LOOK_S)

    @property
    def stands_s(self) -> float:
        """For how long the thread that reads has not come round."""
        return self._vain * LOOK_S

    def verdict(self) -> Verdict:
        """How the node is."""
        timing = self._node.settings.timing
        return judge(signs_of(self.seen(), timing.watchdog_s / 2, timing.session_timeout_s))

    def seen(self) -> Seen:
        """What is known of it now."""
        node, now = self._node, time.monotonic()
        path, owned = node.lookout.path, node.intake.partitions()
        models = node.service.standing().values()
        self._changes.look(node.pulse.shapes, now)
        by_lease = bool(owned) and node.settings.delivery == "at_least_once"
        return Seen(
            running=node.running,
            answered_s=node.pulse.answered_s,
            alive=node.pulse.alive,
            refused=node.pulse.refused,
            connected=node.publisher.connected,
            member=node.lease.holds() if by_lease else path.in_group,
            reads=bool(owned) or path.on_standby,
            looked_s=path.unseen_s(now),
            stands_s=self.stands_s,
            stalled_s=self.stalled_s(),
            unread_s=path.unread_s(now),
            fetched_s=node.member.fetches.idle_s(now),
            unacknowledged_s=node.publisher.oldest_s(),
            untold_s=node.teller.oldest_s(),
            parked="; ".join({**node.publisher.parked, **node.teller.parked}.values()),
            registry=node.control.fault(),
            lapsing_s=node.presence.lapsing_s,
            zygote=node.workers.zygote_pid is not None,
            silent_s=node.workers.zygote_silent_s,
            files_s=0.0 if self._files_at is None else now - self._files_at,
            hopeless=bool(models) and all(each.health.hopeless for each in models),
            store=node.shelf.objects.last.fault if node.shelf else None,
            schemas=node.schemas.last.fault if node.schemas else None,
            disk=self._disk,
            careful=node.care.why,
            twin_s=path.twin_s(now),
            ahead_s=node.presence.ahead_s,
            topics=self._changes.said(now),
        )

    def facts(self) -> dict[str, Any]:
        """What it still waits for, how many partitions it has, which models cannot be loaded."""
        node = self._node
        models = node.service.standing()
        return {
            "waiting_for": node.waiting_for,
            "partitions": sum(topic in node.lanes for topic, _ in node.intake.partitions()),
            "serves": sorted(name for name, each in models.items() if not each.health.hopeless),
            "failed": {
                name: each.health.reason for name, each in models.items() if each.health.reason
            },
            "unreadable": node.models.unreadable,
            "lacking": node.models.lacking,
        }
