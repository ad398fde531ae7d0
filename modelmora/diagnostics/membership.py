"""The doctor's look at the group of the nodes: who reads the lanes, and what nobody reads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import KafkaException

from modelmora.diagnostics.finding import Finding, State
from modelmora.diagnostics.groups import CONSUMER, pace_line, pace_of
from modelmora.errors import ModelMoraError
from modelmora.host.instance import accepts
from modelmora.kafka.admin import explain
from modelmora.kafka.batches import Partition
from modelmora.kafka.reading.standing import Standing
from modelmora.kafka.topics import lane_topics
from modelmora.node.path import Look, Path, look
from modelmora.settings import Settings
from modelmora.text import counted

APART_S = 2.0
"""Between two looks where something seems unread: what moves in that time is read."""
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What the broker says of the group; times in ms, None where it does not say."""

    protocol: str
    pace: tuple[int, int] | None
    least_session_ms: int | None
    names: tuple[str, ...]
    """Of each member."""
    standby: int
    """Members without partitions."""
    lanes: int
    """Partitions of the lanes."""
    unowned: frozenset[Partition]
    unread: frozenset[Partition]
    """Where records lie and nothing moved between two looks."""


def membership(settings: Settings) -> Iterator[Finding]:
    """The group's protocol and pace, its members, and the lanes; nothing where no broker is."""
    servers = settings.bootstrap_servers
    if servers is None or not accepts(servers):
        return
    try:
        with closing(Standing(settings)) as standing:
            seen = standing.patiently(lambda asked: _see(asked, settings))
    except KafkaException as error:
        yield Finding(State.WRONG, "group", str(explain(error, servers)))
    except ModelMoraError as error:
        yield Finding(State.WRONG, "group", str(error))
    else:
        yield from judged(seen, settings)


def judged(seen: Seen, settings: Settings) -> Iterator[Finding]:
    """What of it is wrong."""
    yield from _lanes(seen)
    if settings.kafka.group_protocol != "classic":
        yield from _session(seen, settings.timing.session_timeout_s)
    if not seen.names:
        yield Finding(State.NOTE, "group", f"{settings.group} has no member: no node runs")
        return
    spare = f", {seen.standby} on standby" if seen.standby else ""
    pace = pace_line(seen.protocol, *(seen.pace or (None, None)))
    found = f"{settings.group}: {counted(len(seen.names), 'node')}{spare}; {pace}"
    yield Finding(State.OK, "group", found)
    for name, count in Counter(seen.names).items():
        if count > 1:
            found = f"{count} members are called {name}"
            fix = "one was killed just now, or its data folder was copied: see --dynamic-member"
            yield Finding(State.NOTE, "members", found, fix)


def _session(seen: Seen, wanted_s: float) -> Iterator[Finding]:
    wanted_ms = round(wanted_s * 1000)
    least_ms = seen.least_session_ms
    if least_ms is not None and least_ms > wanted_ms:
        found = f"the brokers allow none below {least_ms / 1000:g} s, {wanted_s:g} s are wanted"
        fix = f"set group.consumer.min.session.timeout.ms={wanted_ms} on them"
        yield Finding(State.NOTE, "session", found, fix)
    elif seen.names and seen.pace and seen.pace[0] > wanted_ms:
        found = f"a killed node is missed after {seen.pace[0] / 1000:g} s, not {wanted_s:g} s"
        fix = "give nodes ALTER_CONFIGS on their group, or longer timing.session_timeout_s"
        yield Finding(State.NOTE, "session", found, fix)


def _lanes(seen: Seen) -> Iterator[Finding]:
    if not seen.lanes:
        return
    left = seen.unowned & seen.unread
    if left:
        found = f"records wait where no node reads: {_places(left)}"
        yield Finding(State.WRONG, "lanes", found, "start a node, or see why none takes them")
    elif seen.unowned and seen.names:
        found = f"no node reads {_places(seen.unowned)}"
        yield Finding(State.WRONG, "lanes", found, "see the logs of the nodes")
    if slow := seen.unread - seen.unowned:
        found = f"records wait, or run for long: {_places(slow)}"
        yield Finding(State.NOTE, "lanes", found, "see /health of the node that reads them")
    if not seen.unowned and not seen.unread:
        yield Finding(State.OK, "lanes", "all are read")


def _places(partitions: Iterable[Partition]) -> str:
    found = sorted(partitions)
    shown = ", ".join(f"{topic}:{number}" for topic, number in found[:SHOWN])
    return shown if len(found) <= SHOWN else f"{shown} and {len(found) - SHOWN} more"


def _see(standing: Standing, settings: Settings) -> Seen:
    """Look twice where something seems to be wrong: partitions may be on their way."""
    path = Path("", settings.timing.session_timeout_s)
    seen = _look(standing, settings, path)
    unowned, unread = seen.unowned, frozenset(path.unread)
    if unread or (unowned and seen.members):
        first = path.unread
        time.sleep(APART_S)
        seen = _look(standing, settings, path)
        unowned &= seen.unowned
        still = [each for each, at in path.unread.items() if first.get(each) == at]
        committed = standing.committed(still)
        # What lies there may be no more than the mark of a transaction.
        unread = frozenset(
            standing.waiting({each: committed.get(each, (0, ""))[0] for each in still})
        )
    told = standing.members(settings.group)
    protocol = told.type.name.lower()
    try:
        least_ms = standing.least_session_ms()
    except KafkaException:
        least_ms = None
    return Seen(
        protocol,
        pace_of(standing, settings.group) if protocol == CONSUMER else None,
        least_ms,
        tuple(member.name for member in seen.members),
        sum(not member.assignment.topic_partitions for member in told.members),
        sum(len(standing.partitions(lane)) for lane in lane_topics(settings)),
        unowned,
        unread,
    )


def _look(standing: Standing, settings: Settings, path: Path) -> Look:
    lanes = frozenset(lane_topics(settings))
    there = {each for lane in lanes for each in standing.partitions(lane)}
    seen = look(standing, settings.group, lanes, there)
    committed = standing.committed(there - seen.unowned)
    # From outside a partition stands where it was committed.
    at = {each: committed.get(each, (0, ""))[0] for each in there - seen.unowned}
    path.saw(seen, "", at, set(), time.monotonic())
    return seen
