"""A broker that is made up: logs, what a group has committed, and who owns what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from modelmora.kafka.batches import Commits, Partition
from modelmora.kafka.writing.publisher import Headers
from modelmora.messages import InferenceResult
from modelmora.testing.fakes import UNIX_MS
from modelmora.wire import decode_result

if TYPE_CHECKING:
    from tests.protocol.member import Member

LANE, RESULTS, LETTERS = "ns.requests.normal", "ns.results", "ns.dead-letters"
PARTITIONS: tuple[Partition, ...] = ((LANE, 0), (LANE, 1))
SESSION_S = 6.0
POISON = "poison"
"""The model of a request that ends the node that decodes it."""
Key = tuple[str, int]
"""A request's id and run."""


@dataclass(slots=True, eq=False)
class Stored:
    """A record as it lies there; `name` is the request's, None where nobody can read it."""

    offset: int
    ms: int
    content: bytes | None
    headed: Headers
    name: Key | None = None
    outcome: InferenceResult | None = None
    buried: bool = False
    handed_on: bool = False

    # As confluent-kafka's messages are asked.
    def value(self) -> bytes | None:
        """The value."""
        return self.content

    def headers(self) -> Headers:
        """The headers."""
        return self.headed

    def timestamp(self) -> tuple[int, int]:
        """When it was appended."""
        return TIMESTAMP_LOG_APPEND_TIME, self.ms


@dataclass(slots=True)
class Log:
    """A partition of the lane.

    `unseen`: its end before that was lost, 0 once an owner has looked, and committed what it found.
    """

    records: list[Stored] = field(default_factory=list)
    unseen: int = 0
    was_cut: bool = False
    looked: float = 0.0
    cut_at: float = inf

    @property
    def end(self) -> int:
        """The offset of the next record."""
        return len(self.records)


class Broker:
    """One broker, its clock, and the coordinator of one group."""

    group = "ns.nodes"

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.lanes = {partition: Log() for partition in PARTITIONS}
        self.results: list[Stored] = []
        self.letters: list[Stored] = []
        self.commits: dict[Partition, tuple[int, str]] = {}
        self.log_name = "log-1"
        self.members: list[Member] = []
        self.on_commit: Callable[[Partition], None] = lambda _: None
        self._turn = 0
        self.wanted: dict[Partition, Member] = {}
        self.held: dict[Partition, Member] = {}

    @property
    def ms(self) -> int:
        """Its time."""
        return UNIX_MS + int(self._now() * 1000)

    def append(self, topic: str, partition: int, value: bytes | None, headers: Headers) -> Stored:
        """Take a record."""
        lane = self.lanes.get((topic, partition))
        log = lane.records if lane else self.results if topic == RESULTS else self.letters
        stored = Stored(len(log), self.ms, value, headers)
        if topic == RESULTS:
            stored.outcome = decode_result(value)
            stored.name = stored.outcome.request_id, stored.outcome.run
        log.append(stored)
        return stored

    # The group -----------------------------------------------------------------------------------

    def join(self, member: Member) -> None:
        """A member more."""
        self.members.append(member)
        self.share(self._turn)

    def leave(self, member: Member) -> None:
        """A member less: it has left, or nothing was heard of it for a session."""
        self.members.remove(member)
        for mine in (self.wanted, self.held):
            for partition in [each for each, owner in mine.items() if owner is member]:
                del mine[partition]
        self.share(self._turn)

    def share(self, turn: int) -> None:
        """Say anew who is to have what."""
        self._turn = turn
        for number, partition in enumerate(PARTITIONS):
            if self.members:
                self.wanted[partition] = self.members[(number + turn) % len(self.members)]

    def expire(self) -> None:
        """Nobody waits for members that were not heard of for a session."""
        for member in [*self.members]:
            if self._now() - member.heard > SESSION_S:
                self.leave(member)
                member.fenced = True

    def commit(self, member: Member, commits: Commits, asked_at: float) -> bool:
        """Take a commit of who owns the partitions; whether it is taken."""
        if member.fenced or any(self.held.get(each) is not member for each in commits):
            return False
        self.commits.update(commits)
        for each in commits:
            self.on_commit(each)
            if asked_at >= self.lanes[each].looked > 0:
                self.lanes[each].unseen = 0
        return True


class Standing:
    """What the real `Standing` answers; `looked` hears whose commits were seen."""

    def __init__(self, broker: Broker, looked: Callable[[Partition], None]) -> None:
        self.group = broker.group
        self._broker = broker
        self._looked = looked

    def committed(
        self, partitions: Iterable[Partition], **_: object
    ) -> dict[Partition, tuple[int, str]]:
        """What the group has committed."""
        for each in partitions:
            self._looked(each)
        commits = self._broker.commits
        return {each: commits[each] for each in partitions if each in commits}

    def bounds(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        """First offset and end."""
        return {each: (0, self._broker.lanes[each].end) for each in partitions}

    def logs(self, topics: Iterable[str]) -> dict[str, str]:
        """What lies there under that name."""
        return dict.fromkeys(topics, self._broker.log_name)

    def at(self, times: Mapping[Partition, int]) -> dict[Partition, int]:
        """The first offset written at a time or later."""
        found = {}
        for each, ms in times.items():
            written = (one.offset for one in self._broker.lanes[each].records if one.ms >= ms)
            if (first := next(written, None)) is not None:
                found[each] = first
        return found

    def read(self, topic: str, since_ms: int, take: Callable[[Any], None]) -> None:
        """All results since then."""
        assert topic == RESULTS
        for stored in self._broker.results:
            if stored.ms >= since_ms:
                take(stored)

    def renew(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""
