"""Groups as the broker has them: what each reads, how far it is; of the nodes' also the models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from modelmora.diagnostics.nodes import read_nodes
from modelmora.errors import NotFound
from modelmora.kafka.acls import Operation
from modelmora.kafka.admin import explain
from modelmora.kafka.connection import confluent_config
from modelmora.kafka.denied import on_group
from modelmora.kafka.reading.reader import WAIT_S, Place
from modelmora.kafka.reading.shown import Reader
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.topics import LANE_TOPICS, tier_topics
from modelmora.settings import Settings
from modelmora.text import did_you_mean
from modelmora.wire import places_of

CONSUMER = "consumer"
FEW = 10
"""Offsets behind: so few may be marks of transactions, and are looked at."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a group and what it reads."""

    id: str
    host: str
    places: frozenset[Place]


@dataclass(frozen=True, slots=True)
class Share:
    """One partition of the lanes: who has it, what waits in each lane, which models live on it.

    `lag` counts records behind the committed offset; some of them may be done already. None =
    nothing was ever committed there.
    """

    partition: int
    owner: str | None
    lag: Mapping[str, int | None]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a group is on one partition; `lag` counts offsets behind what it has committed.

    `committed` is None where it never has, `end` where there is no such partition any more; `lag`
    then is, too. It is 0 where only marks of transactions lie behind, which no reader gets.
    """

    topic: str
    partition: int
    committed: int | None
    end: int | None
    lag: int | None
    owner: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """A group as the broker has it; `shares` only of the group of the nodes.

    `protocol` is `consumer` (KIP-848) or `classic`; session and heartbeat are the broker's for
    the first, and None for the second, whose members have their own.
    """

    name: str
    state: str
    protocol: str
    session_ms: int | None
    heartbeat_ms: int | None
    members: tuple[Member, ...]
    readings: tuple[Reading, ...]
    shares: tuple[Share, ...]


class Groups:
    """Asks the broker about groups. Blocking; raises Unreachable, WrongCredentials, NotFound."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._servers = settings.bootstrap_servers or ""
        self._client = AdminClient(confluent_config(settings))

    def names(self) -> list[tuple[str, str]]:
        """Every group with its state."""
        with self._explained():
            listing = self._client.list_consumer_groups(request_timeout=WAIT_S).result(WAIT_S)
        return sorted((g.group_id, g.state.name.lower()) for g in listing.valid)

    def describe(self, name: str) -> Group:
        """One group on all topics that it reads; that of the nodes reads all requests."""
        self._check(name)
        lanes: list[Place] = []
        tiers: list[Place] = []
        models: Mapping[str, int] = {}
        if name == self._settings.group:
            with Reader(self._settings) as reader:
                topics = (t.full(self._settings.namespace) for t in LANE_TOPICS.values())
                lanes = reader.places(*topics)
                tiers = reader.places(*tier_topics(self._settings))
                nodes = read_nodes(reader, self._settings)
                models = {name: nodes.spreads.get(name, 1) for name in nodes.models}
        with self._explained(), closing(Standing(self._settings, name)) as standing:
            told = standing.members(name)
            pace = pace_of(standing, name) if _protocol(told) == CONSUMER else None
            members = tuple(map(_member, told.members))
            readings = standing.patiently(lambda asked: _readings(asked, members, [*lanes, *tiers]))
        lag = {(each.topic, each.partition): each.lag for each in readings}
        shares = shares_of(self._settings.namespace, lanes, members, lag, models)
        session_ms, heartbeat_ms = pace or (None, None)
        return Group(
            name,
            told.state.name.lower(),
            _protocol(told),
            session_ms,
            heartbeat_ms,
            members,
            readings,
            tuple(shares),
        )

    def _check(self, name: str) -> None:
        """Raises NotFound where there is no such group, NotAllowed where we may not see it."""
        names = [each for each, _ in self.names()]
        if name in names:
            return
        with self._explained(), closing(Standing(self._settings, name)) as standing:
            standing.members(name)
        meant = did_you_mean(name, names)
        raise NotFound(f"there is no group {name}{meant}; see `modelmora groups list`")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            needed = on_group(Operation.DESCRIBE, self._settings.group)
            raise explain(error, self._servers, needed) from None


def _protocol(told: Any) -> str:
    return str(told.type.name.lower())


def pace_of(standing: Standing, group: str) -> tuple[int, int] | None:
    """Session and heartbeat of a group (ms); None where the broker does not say."""
    try:
        return standing.pace(group)
    except KafkaException:
        return None


def pace_line(protocol: str, session_ms: int | None, heartbeat_ms: int | None) -> str:
    """Protocol, session and heartbeat as people read them."""
    if protocol != CONSUMER:
        return "protocol classic, session and heartbeat as its members have them"
    if session_ms is None or heartbeat_ms is None:
        return "protocol consumer (KIP-848)"
    return (
        "protocol consumer (KIP-848), "
        f"session {session_ms / 1000:g} s, heartbeat {heartbeat_ms / 1000:g} s"
    )


def _member(told: Any) -> Member:
    found = told.assignment.topic_partitions if told.assignment else ()
    return Member(
        told.group_instance_id or told.client_id,
        told.host.lstrip("/"),
        frozenset((tp.topic, tp.partition) for tp in found),
    )


def _readings(
    standing: Standing, members: Iterable[Member], lanes: Iterable[Place]
) -> tuple[Reading, ...]:
    """All partitions of each topic of which it has committed something, or a member reads one."""
    committed = {place: offset for place, (offset, _) in standing.committed_anywhere().items()}
    owners: dict[Place, list[str]] = {}
    for member in members:
        for place in member.places:
            owners.setdefault(place, []).append(member.id)
    topics = {topic for topic, _ in (*committed, *owners, *lanes)}
    there = {place for topic in topics for place in standing.partitions(topic)}
    ends = {place: end for place, (_, end) in standing.bounds(there).items()}
    lag = {place: max(0, ends[place] - committed[place]) for place in there & committed.keys()}
    near = {place: committed[place] for place, count in lag.items() if 0 < count <= FEW}
    for place in near.keys() - standing.waiting(near):
        lag[place] = 0
    return tuple(
        Reading(
            *place,
            committed.get(place),
            ends.get(place),
            lag.get(place),
            ", ".join(sorted(owners.get(place, ()))) or None,
        )
        for place in sorted(there | committed.keys() | owners.keys())
    )


def shares_of(
    namespace: str,
    lanes: Iterable[Place],
    members: Iterable[Member],
    lag: Mapping[Place, int | None],
    models: Mapping[str, int],
) -> list[Share]:
    """The partitions of the lanes side by side, since one node has a partition of all of them.

    `models` says over how many partitions the requests of each lie. Where lanes of a partition are
    on different nodes, the owner names them all.
    """
    places = list(lanes)
    topics = {topic.full(namespace): lane for lane, topic in LANE_TOPICS.items()}
    count = 1 + max((partition for _, partition in places), default=-1)
    at: dict[int, list[str]] = {}
    for name, spread in models.items():
        for number in places_of(name, spread, count) if count else ():
            at.setdefault(number, []).append(name)
    shares = []
    for number in range(count):
        here = [place for place in places if place[1] == number]
        owners = sorted({m.id for m in members for place in here if place in m.places})
        by_lane = {topics[place[0]].label: lag.get(place) for place in here}
        shares.append(Share(number, ", ".join(owners) or None, by_lane, tuple(at.get(number, ()))))
    return shares
