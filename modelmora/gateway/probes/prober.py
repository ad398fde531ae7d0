"""Sends the probes, hears the answers, and says in words what is not answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog
from aiokafka import ConsumerRecord

from modelmora.access.signing import Signer
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.probes.path import Asked, How, Partition, Path
from modelmora.kafka.leases import NodeLease
from modelmora.kafka.probes import probe_record
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.topics import lane_topics
from modelmora.kafka.writing.publisher import Answer, Publisher, Written
from modelmora.settings import Settings
from modelmora.text import duration

log = structlog.get_logger(__name__)
LATE_SESSIONS = 1.5
"""A node that was killed is missed for one, and who takes over has to begin."""
STALL_S = 2.0
"""Looks come oftener, unless this process stood still."""
SHOWN = 3
MAKES = "`modelmora topics create` makes it"

Mint = Callable[[], Awaitable[tuple[str, int]]]
"""Makes an id, and says on which partition of `results` its outcome is read here."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the probes say, in words: `silent` of lanes that answer nothing, `late` of the rest."""

    silent: tuple[str, ...] = ()
    late: str | None = None
    oldest_s: float = 0.0


class Prober:
    """Asks some partitions of each lane every `timing.probe_s`, while any node reads."""

    def __init__(
        self,
        settings: Settings,
        pulse: Pulse,
        publisher: Publisher,
        mint: Mint,
        nodes: Callable[[], Iterable[NodeLease]],
        metrics: Metrics,
        signer: Signer | None,
    ) -> None:
        """`nodes` are those that run, as they have told last."""
        # A lag of one record would keep a node that comes on demand.
        self._every_s = 0.0 if settings.nodes_on_demand else settings.timing.probe_s
        self._limit_s = LATE_SESSIONS * settings.timing.session_timeout_s
        self._lanes = {topic: lane.label for topic, lane in lane_topics(settings).items()}
        self._pulse = pulse
        self._publisher = publisher
        self._mint = mint
        self._nodes = nodes
        self._metrics = metrics
        self._signer = signer
        self.path = Path(random.randrange(1 << 20))  # noqa: S311 - gateways ask here and there
        self._on = False
        self._now = 1.0
        """The seconds that this process has seen pass."""
        self._looked = 0.0

    async def run(self) -> None:
        """Ask until cancelled, at once where that has come to make sense."""
        while self._every_s:
            if self._on:
                await self._ask()
            await asyncio.sleep(self._every_s if self._on else STALL_S / 4)

    async def _ask(self) -> None:
        for topic in self._lanes:
            shape = self._pulse.shapes.get(topic)
            for number in self.path.due(topic, shape.partitions) if shape else ():
                try:
                    new_id, reply = await self._mint()
                except Exception as error:  # noqa: BLE001 - it is told by who reads the replies
                    log.debug("no probe was sent", topic=topic, error=repr(error))
                    return
                self._send(new_id, (topic, number), reply)

    def _send(self, new_id: str, place: Partition, reply: int) -> None:
        record = probe_record(new_id, place, reply, self._signer)
        key = record.key or b""
        record.wanted, record.done = partial(self.path.is_awaited, key), partial(self._done, key)
        self.path.sent(key, place, self._now)
        self._publisher.send(record)

    def _done(self, request_id: bytes, answer: Answer) -> None:
        if isinstance(answer, Written):
            self.path.written(request_id)

    def hears(self, record: ConsumerRecord) -> bool:
        """Take an outcome; False: it is none of these."""
        return self.path.answered(record.key, self._now + self._since_look())

    def look(self, reads: bool) -> None:
        """To be called twice a second at least; `reads`: whether a probe could be answered.

        What passed while this process stood still counts for nothing. While releases are mixed
        nothing is asked: partitions change hands, and a node of before makes a probe a dead letter.
        """
        passed = self._since_look()
        self._now += passed if passed <= STALL_S else 0.0
        self._looked = asyncio.get_running_loop().time()
        nodes = [*self._nodes()]
        self._on = reads and all(node.knows_probes for node in nodes)
        if not self._on:
            self.path.clear()
        for node in nodes:
            self.path.excuse(node.held_back, self._now)
        self._measure()

    def _since_look(self) -> float:
        return asyncio.get_running_loop().time() - self._looked

    def told(self) -> Told:
        """What the probes say by now."""
        shapes = {topic: shape.partitions for topic, shape in self._pulse.shapes.items()}
        late = self.path.late(self._limit_s, self._now, shapes)
        silent = self.path.silent(self._limit_s, self._now)
        parked, nodes = self._publisher.parked, [*self._nodes()]
        missing = sorted(self._lanes.keys() - shapes.keys()) if self._on and self._every_s else ()
        lines = [f"there is no topic {each}: {MAKES}" for each in missing]
        lines += (
            _of_lane(topic, age_s, parked.get(topic), written=_is_written(late, topic))
            for topic, age_s in sorted(silent.items())
            if topic in shapes
        )
        rest = {place: each for place, each in late.items() if place[0] not in silent}
        told = [
            _of_partition(place, self._now - each.since, parked.get(place[0]), nodes)
            for place, each in sorted(rest.items())[:SHOWN]
        ]
        more = [f"{len(rest) - SHOWN} partitions more"] if len(rest) > SHOWN else []
        return Told(tuple(lines), "; ".join(told + more) or None, self.path.oldest_s(self._now))

    def _measure(self) -> None:
        for topic, lane in self.path.lanes.items():
            label = self._lanes[topic]
            for how, at in lane.last.items():
                self._metrics.probe_age.labels(label, how.value).set(self._now - at)
            if How.ANSWERED in lane.last:
                self._metrics.probe_seconds.labels(label).set(lane.seconds)


def _is_written(late: Mapping[Partition, Asked], topic: str) -> bool:
    return any(each.written for (of, _), each in late.items() if of == topic)


def _of_lane(topic: str, age_s: float, parked: str | None, *, written: bool) -> str:
    since = duration(1000 * age_s)
    if parked or not written:
        why = parked or "the broker does not acknowledge it: look at the topic and its replicas"
        return f"nothing can be written to {topic} for {since}: {why}"
    return (
        f"no probe of {topic} was answered for {since}: "
        "look at /health of the nodes, and whether `results` is written"
    )


def _of_partition(
    place: Partition, age_s: float, parked: str | None, nodes: Iterable[NodeLease]
) -> str:
    topic, number = place
    since = duration(1000 * age_s)
    if parked:
        return f"nothing can be written to {topic} {number} for {since}: {parked}"
    owners = [each.node for each in nodes if number in each.partitions]
    what = f"look at /health of {owners[0]}" if owners else "no node says that it reads it"
    return f"no probe of {topic} {number} was answered for {since}: {what}"
