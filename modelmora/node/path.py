"""Whether requests still get through: who is in the group, and what lies unread for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from modelmora.kafka.batches import Partition
from modelmora.kafka.reading.standing import Standing

TWIN_S, PATIENT_S, ELDER_S = 3.0, 10.0, 60.0


class GroupMember(NamedTuple):
    """A member of the group; `name` is the node's."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Look:
    """What the broker said at one moment."""

    members: frozenset[GroupMember]
    owners: Mapping[Partition, str]
    """The member that has each lane partition."""
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
    owners = {
        (each.topic, each.partition): member.member_id
        for member in found.members
        for each in member.assignment.topic_partitions
    }
    there = {each for lane in lanes for each in standing.partitions(lane)}
    unowned = there - owners.keys()
    return Look(
        members,
        owners,
        frozenset(unowned),
        standing.bounds((own | unowned) & there, committed=True),
        {each: offset for each, (offset, _) in standing.committed(unowned, hasty=True).items()},
    )


@dataclass(slots=True)
class Path:
    """Pure: is told what the broker said, and says since when something is wrong."""

    name: str
    session_s: float
    in_group: bool = False
    on_standby: bool = False
    """A member without partitions, since others have them all."""
    unread: dict[Partition, float] = field(default_factory=dict)
    """Partitions with records that nobody reads, and since when."""
    _read_to: dict[Partition, int] = field(default_factory=dict)
    _positions: dict[Partition, int] = field(default_factory=dict)
    _before: Mapping[Partition, int] = field(default_factory=dict)
    """Where each partition of ours was at the last look."""
    _twin_since: float | None = None
    saw_at: float | None = None
    """When the broker last said how things stand; None: never."""
    _asked_at: float | None = None
    """When it was last asked, whether the broker answered or not; None: never."""
    _looked_at: float = 0.0
    _patience_s: float | None = None

    def saw(
        self,
        seen: Look,
        member_id: str,
        positions: Mapping[Partition, int],
        gated: set[Partition],
        now: float,
        *,
        behind: bool = False,
    ) -> None:
        """Take in a look; `positions` is the next offset of each partition of ours.

        A partition is unread while records lie on it and its position does not move, although it is
        not gated. `behind` says that more has come than was taken in: while any partition of ours
        moves, the others then wait for their turn. Between two looks nothing grows older by more
        than a look may take: who was frozen is not blamed.
        """
        last = now if self._asked_at is None else self._asked_at
        frozen_s = max(0.0, now - last - PATIENT_S)
        self.saw_at = self._asked_at = now
        self.in_group = any(member.id == member_id for member in seen.members)
        owns = member_id in seen.owners.values()
        self.on_standby = self.in_group and not owns and not seen.unowned
        stands = {each: seen.committed.get(each, 0) for each in seen.unowned} | {
            each: offset for each, offset in positions.items() if each not in gated
        }
        moves = behind and any(
            self._before.get(each, offset) != offset for each, offset in positions.items()
        )
        self._before = dict(positions)
        unread: dict[Partition, float] = {}
        for each, (first, end) in seen.bounds.items():
            read_to = self._read_to.get(each, 0)
            # Beyond the end it was said of an earlier topic of that name.
            position = max(stands.get(each, end), first, read_to if read_to <= end else 0)
            if position < end:
                moved = self._positions.get(each) != position or (moves and each in positions)
                since = self.unread.get(each, now) + frozen_s
                unread[each] = now if moved else min(now, since)
                self._positions[each] = position
        self.unread = unread
        self._look_for_twins(seen, member_id, now)

    def _look_for_twins(self, seen: Look, member_id: str, now: float) -> None:
        twins = {m.id for m in seen.members if m.name == self.name and m.id != member_id}
        if not self.in_group:
            return
        if self._patience_s is None:
            # Who was here first stays. Of two that came at once, one waits for the other to end.
            newcomer_s = self.session_s + TWIN_S
            first_s = newcomer_s + (PATIENT_S if any(member_id < twin for twin in twins) else 0)
            self._patience_s = first_s if twins else ELDER_S
        # A broker that did not answer has not counted the session of one that is gone either.
        silent = now - self._looked_at > TWIN_S
        self._looked_at = now
        if not twins:
            self._twin_since = None
        elif self._twin_since is None or silent:
            self._twin_since = now

    def unheard(self, now: float) -> None:
        """The broker did not answer: nothing could be read meanwhile either."""
        self._asked_at = now
        self.unread = dict.fromkeys(self.unread, now)

    def read(self, partition: Partition, end: int) -> None:
        """Nothing that a reader would get lies below this offset after all."""
        self._read_to[partition] = end
        self.unread.pop(partition, None)

    def unread_s(self, now: float) -> float:
        """For how long the longest unread partition is; 0 where all are read."""
        return max((now - since for since in self.unread.values()), default=0.0)

    def unseen_s(self, now: float) -> float:
        """How long ago the broker last said how things stand; 0 before the first time."""
        return 0.0 if self.saw_at is None else now - self.saw_at

    def twin_s(self, now: float) -> float:
        """For how long another has run under this node's name, beyond what one killed may seem to.

        0 where none does.
        """
        if self._twin_since is None:
            return 0.0
        return max(0.0, now - self._twin_since - self.session_s - TWIN_S)

    def is_twin(self, now: float) -> bool:
        """Whether this node is to end, for another runs under its name.

        One that was killed stays a member for a session, and is no twin.
        """
        if self._twin_since is None or self._patience_s is None:
            return False
        return now - self._twin_since > self._patience_s
