"""Whether requests still get through: who is in the group, and what lies unread for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from modelmora.kafka.batches import Partition
from modelmora.kafka.standing import Standing

TWIN_S = 60.0


class GroupMember(NamedTuple):
    """A member of the group; `name` is the node's."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Look:
    """What the broker said at one moment."""

    members: frozenset[GroupMember]
    unowned: frozenset[Partition]
    """Lane partitions that no member of the group has."""
    bounds: Mapping[Partition, tuple[int, int]]
    """First and end offset of those, and of our own."""
    committed: Mapping[Partition, int]
    """What the group has committed of those that nobody has."""


def look(standing: Standing, group: str, lanes: frozenset[str], own: set[Partition]) -> Look:
    """Ask the broker; raises KafkaException, Unreachable. Blocking."""
    found = standing.members(group)
    members = frozenset(GroupMember(each.member_id, each.client_id) for each in found.members)
    owned = {
        (each.topic, each.partition)
        for member in found.members
        for each in member.assignment.topic_partitions
    }
    there = {each for lane in lanes for each in standing.partitions(lane)}
    unowned = there - owned
    return Look(
        members,
        frozenset(unowned),
        standing.bounds((own | unowned) & there, committed=True),
        {each: offset for each, (offset, _) in standing.committed(unowned).items()},
    )


@dataclass(slots=True)
class Path:
    """Pure: is told what the broker said, and says since when something is wrong."""

    name: str
    session_s: float
    began: float
    """When this node started, monotonic seconds."""
    in_group: bool = False
    unread: dict[Partition, float] = field(default_factory=dict)
    """Partitions with records that nobody reads, and since when."""
    _read_to: dict[Partition, int] = field(default_factory=dict)
    _positions: dict[Partition, int] = field(default_factory=dict)
    _twin_since: float | None = None

    def saw(
        self,
        seen: Look,
        member_id: str,
        positions: Mapping[Partition, int],
        gated: set[Partition],
        now: float,
    ) -> None:
        """Take in a look; `positions` is the next offset of each partition of ours.

        A partition is unread while records lie on it and its position does not move, although it
        is not gated.
        """
        self.in_group = any(member.id == member_id for member in seen.members)
        stands = {each: seen.committed.get(each, 0) for each in seen.unowned} | {
            each: offset for each, offset in positions.items() if each not in gated
        }
        unread: dict[Partition, float] = {}
        for each, (first, end) in seen.bounds.items():
            read_to = self._read_to.get(each, 0)
            # Beyond the end it was said of an earlier topic of that name.
            position = max(stands.get(each, end), first, read_to if read_to <= end else 0)
            if position < end:
                moved = self._positions.get(each) != position
                unread[each] = now if moved else self.unread.get(each, now)
                self._positions[each] = position
        self.unread = unread
        twin = any(m.name == self.name and m.id != member_id for m in seen.members)
        if not (twin and self.in_group):
            self._twin_since = None
        elif self._twin_since is None:
            self._twin_since = now

    def read(self, partition: Partition, end: int) -> None:
        """Nothing that a reader would get lies below this offset after all."""
        self._read_to[partition] = end
        self.unread.pop(partition, None)

    def unread_s(self, now: float) -> float:
        """For how long the longest unread partition is; 0 where all are read."""
        return max((now - since for since in self.unread.values()), default=0.0)

    def is_twin(self, now: float) -> bool:
        """Whether this node is to end, for another runs under its name.

        One that was killed stays a member for a session. Of two that live the younger ends.
        """
        if self._twin_since is None:
            return False
        limit = self.session_s + 3 if self._twin_since - self.began < TWIN_S / 2 else TWIN_S
        return now - self._twin_since > limit
