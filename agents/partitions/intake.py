"""What this node holds of each partition: its ledger, whether it may be read, what must leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from modelmora.agents.partitions.costs import cost_of
from modelmora.agents.partitions.ledger import WINDOW, Commit, PartitionLedger
from modelmora.kafka.batches import Partition
from modelmora.messages import Lane
from modelmora.serving import Record
from modelmora.settings import Limits

SHARES = {Lane.CRITICAL: 1.0, Lane.HIGH: 0.9, Lane.NORMAL: 0.75, Lane.LOW: 0.5}
"""How full, of `node_bytes`, the node may be for a lane to be open: the rest is for higher ones."""
FLOOR = 1 / 256
"""What a partition of a closed lane may hold, of `node_bytes`: nobody is ever starved."""


class Intake:
    """The partitions of this node. Bounds what waits (invariant I5).

    A partition is gated when its open requests reach `partition_requests` or `partition_bytes`,
    or its window is full. A lane is closed when all open requests reach its share of `node_bytes`:
    its partitions may then hold no more than the floor. Both end at half of that. What keeps a
    higher lane closed is shed: see `to_shed`. What was fetched for a request counts for the lanes,
    not for its partition: those behind it go on.

    A record belongs to the epoch that it was read in; to another of the same partition it is
    unknown.
    """

    def __init__(self, limits: Limits, lanes: Mapping[str, Lane]) -> None:
        """`lanes` says of each topic that may be assigned with which lane it yields."""
        self._limits = limits
        self._lanes = lanes
        self._ledgers: dict[Partition, PartitionLedger] = {}
        self._bytes = 0
        self._closes = {lane: int(share * limits.node_bytes) for lane, share in SHARES.items()}
        self._floor = max(1, min(int(FLOOR * limits.node_bytes), limits.partition_bytes))
        self._closed: set[Lane] = set()
        self._named: set[Partition] = set()
        self._changed: dict[Partition, Commit | None] = {}
        self._hold = False
        self._answered: dict[Partition, Mapping[int, str]] = {}
        self._contents: dict[Partition, dict[int, int]] = {}
        self.gated: set[Partition] = set()
        """Not to be read now."""
        self._watch()

    # Ownership -----------------------------------------------------------------------------------

    def assign(
        self,
        partition: Partition,
        epoch: int,
        offset: int,
        finished: Iterable[int] = (),
        since_ms: int = 0,
        answered: Mapping[int, str] | None = None,
    ) -> None:
        """Own a partition from now on, from this offset.

        `finished` offsets have their outcome already, of those that were given before `since_ms`
        (the broker's time) all. `answered`: see `is_answered`.
        """
        self.revoke([partition])
        ledger = PartitionLedger(epoch, offset, finished, since_ms, answered or ())
        self._ledgers[partition] = ledger
        if answered:
            self._answered[partition] = answered
        if ledger.head != offset:
            self._changed[partition] = None
        self._fill(partition, ledger)

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """These are not ours any more; outcomes of their records are owed no more."""
        for partition in partitions:
            if ledger := self._ledgers.pop(partition, None):
                self._bytes -= ledger.bytes + sum(self._contents.pop(partition, {}).values())
            self._changed.pop(partition, None)
            self._answered.pop(partition, None)
            self._named.discard(partition)
            self.gated.discard(partition)
        if self._bytes <= self._next_open:
            self._on_less()

    def leave(self, partitions: Iterable[Partition]) -> None:
        """These are about to go: what is written already still counts, nothing more is owed."""
        for partition in partitions:
            if ledger := self._ledgers.get(partition):
                ledger.leaving = True

    def partitions(self) -> set[Partition]:
        """What this node owns."""
        return set(self._ledgers)

    def ledger(self, partition: Partition) -> PartitionLedger | None:
        """Its ledger; None when it is not owned."""
        return self._ledgers.get(partition)

    def epoch(self, partition: Partition) -> int | None:
        """The epoch it is owned in; None when it is not."""
        ledger = self._ledgers.get(partition)
        return ledger.epoch if ledger else None

    # Reading -------------------------------------------------------------------------------------

    def follows(self, partition: Partition, epoch: int, after: int) -> bool:
        """Whether a batch of this epoch, read from `after`, may be used now.

        Not if anything below `after` was not taken: it got lost on the way, or was shed; reading
        then goes back to `next_offset`. To be asked before each batch, and again within one
        wherever others had a turn.
        """
        ledger = self._ledgers.get(partition)
        return ledger is not None and ledger.epoch == epoch and ledger.follows(after)

    def next_offset(self, partition: Partition) -> int | None:
        """Where to read from: all below was taken. None when it is not owned."""
        ledger = self._ledgers.get(partition)
        return ledger.next if ledger else None

    def stray(self, partition: Partition) -> None:
        """Records were handed over and got lost on the way: reading has to go back."""
        if ledger := self._ledgers.get(partition):
            ledger.stray()

    def rest(self, partition: Partition) -> None:
        """What comes next is not to be begun yet: it is read again once the partition wakes."""
        if ledger := self._ledgers.get(partition):
            ledger.rests = True
            ledger.stray()
            self._gate(partition, ledger)

    def wake(self, partition: Partition) -> None:
        """What comes next may be begun."""
        if ledger := self._ledgers.get(partition):
            ledger.rests = False
            self._gate(partition, ledger)

    def rewind(self, partition: Partition) -> int | None:
        """Where reading has to go back to once the gate is open, told once; None: it goes on."""
        ledger = self._ledgers.get(partition)
        return ledger.rewind() if ledger else None

    def begin(self, record: Record) -> bool:
        """Enter a record. False: it is in flight here, was finished before, or is not ours.

        False also for what lies behind something that has to be read again first.
        """
        partition = (record.topic, record.partition)
        ledger = self._ledgers.get(partition)
        if ledger is None or ledger.epoch != record.epoch:
            return False
        head = ledger.head
        cost = cost_of(record)
        fresh = ledger.begin(record.offset, cost)
        if ledger.head != head:
            self._changed[partition] = None
        if fresh:
            self._bytes += cost
        if not ledger.full and self._is_full(ledger):
            ledger.full = True
            self._gate(partition, ledger)
        if self._bytes >= self._next_close:
            self._on_more()
        return fresh

    def room(self, lane: Lane) -> int:
        """Bytes that may be added before the lane is closed; below 0 where it should be."""
        return self._closes[lane] - self._bytes - 1

    def weigh(self, record: Record, size: int) -> None:
        """Content of so many bytes comes with the record until it is answered, or is shed."""
        if self.owes(record):
            partition = (record.topic, record.partition)
            self._contents.setdefault(partition, {})[record.offset] = size
            self._bytes += size
            if self._bytes >= self._next_close:
                self._on_more()

    def weighs(self, record: Record) -> bool:
        """Whether its content counts."""
        return record.offset in self._contents.get((record.topic, record.partition), ())

    # Outcomes ------------------------------------------------------------------------------------

    def owes(self, record: Record) -> bool:
        """Whether the record's outcome is still to be given here."""
        ledger = self._ledgers.get((record.topic, record.partition))
        return (
            ledger is not None
            and ledger.epoch == record.epoch
            and record.offset in ledger.open
            and not ledger.leaving
        )

    def is_answered(self, record: Record, request_id: str) -> bool:
        """Whether another partition's reader says that it has answered this very request.

        Only that of this id is believed: the place may be a lie of who wrote to that partition.
        """
        answered = self._answered.get((record.topic, record.partition)) if self._answered else None
        return answered is not None and answered.get(record.offset) == request_id

    def done(self, record: Record) -> None:
        """The record's outcome is acknowledged."""
        partition = (record.topic, record.partition)
        ledger = self._ledgers.get(partition)
        if ledger is None or ledger.epoch != record.epoch:
            return
        if cost := ledger.done(record.offset):
            self._changed[partition] = None
            self._less(partition, ledger, cost + self._unweigh(record))

    def handed_on(self, record: Record) -> None:
        """The broker has the record elsewhere, so nothing is owed here."""
        self.done(record)

    def to_commit(self, since_ms: int) -> dict[Partition, Commit]:
        """What is to be committed of partitions where something changed since the broker took it.

        `since_ms`: the broker's time, such that all older outcomes of ours were marked done.
        """
        for partition in self._changed:
            self._changed[partition] = self._ledgers[partition].commit(since_ms)
        return {partition: commit for partition, commit in self._changed.items() if commit}

    def commit_of(self, partition: Partition, since_ms: int) -> Commit | None:
        """What to commit of one partition, changed or not; None when it is not owned."""
        ledger = self._ledgers.get(partition)
        commit = ledger.commit(since_ms) if ledger else None
        if partition in self._changed:
            self._changed[partition] = commit
        return commit

    def commits_after(
        self, outcomes: Mapping[Partition, Iterable[int]], since_ms: int, bearer: str
    ) -> dict[Partition, Commit]:
        """What to commit in the transaction that writes the outcomes of these offsets.

        Of each of their partitions, and of those where something has changed since.
        """
        return {
            partition: self._ledgers[partition].commit_after(
                outcomes.get(partition, ()), since_ms, bearer
            )
            for partition in self._changed.keys() | outcomes.keys()
        }

    def on_written(self, commits: Mapping[Partition, Commit], since_ms: int, bearer: str) -> None:
        """A transaction with these commits went through, and its outcomes were marked done."""
        for partition in commits.keys() & self._changed.keys():
            if self._ledgers[partition].commit(since_ms, bearer) == commits[partition]:
                del self._changed[partition]

    @property
    def is_committed(self) -> bool:
        """Whether the broker has taken all there is to commit."""
        return not self._changed

    def claim(self, partition: Partition) -> None:
        """Have the partition committed whether or not anything has changed."""
        if partition in self._ledgers:
            self._changed[partition] = None

    def on_committed(self, commits: Mapping[Partition, Commit]) -> None:
        """The broker has taken these commits."""
        for partition, commit in commits.items():
            if self._changed.get(partition) == commit:
                del self._changed[partition]

    # Room ----------------------------------------------------------------------------------------

    def to_shed(self) -> set[Partition]:
        """The partitions whose waiting work is to leave memory now, and be read again later.

        (1) The highest lane that is closed asks, for what it takes to open it.
        (2) Only lower lanes give, what is above the floor: the lowest first, and of one lane the
        partition that holds most.
        (3) Each is named once until its lane opens: what it still holds has been started.
        """
        # (1)
        asker = min(self._closed, default=Lane.CRITICAL)
        excess = self._bytes - self._closes[asker] // 2
        # (2)
        lower = [
            (self._lanes[partition[0]], held, partition)
            for partition, ledger in self._ledgers.items()
            if self._lanes[partition[0]] > asker
            and (held := ledger.bytes + sum(self._contents.get(partition, {}).values()))
            > self._floor
        ]
        victims = set[Partition]()
        for _, held, partition in sorted(lower, reverse=True) if self._closed else ():
            if excess <= 0:
                break
            # (3)
            if partition not in self._named:
                victims.add(partition)
                excess -= held
        self._named |= victims
        return victims

    def shed(self, records: Iterable[Record]) -> None:
        """These left memory without an outcome: they are owed again, and read again later."""
        for record in records:
            partition = (record.topic, record.partition)
            ledger = self._ledgers.get(partition)
            if ledger and ledger.epoch == record.epoch:
                self._less(partition, ledger, ledger.shed(record.offset) + self._unweigh(record))

    @property
    def hold(self) -> bool:
        """Whether nothing at all is to be read."""
        return self._hold

    @hold.setter
    def hold(self, hold: bool) -> None:
        if hold != self._hold:
            self._hold = hold
            for partition, ledger in self._ledgers.items():
                self._gate(partition, ledger)

    @property
    def open_requests(self) -> int:
        """Requests in memory that owe their outcome."""
        return sum(len(ledger.open) for ledger in self._ledgers.values())

    def open_on(self, topic: str) -> int:
        """Of those the ones of a topic."""
        return sum(len(each.open) for (name, _), each in self._ledgers.items() if name == topic)

    @property
    def open_bytes(self) -> int:
        """What those cost, and what was fetched for them."""
        return self._bytes

    def _is_full(self, ledger: PartitionLedger) -> bool:
        limits = self._limits
        return (
            len(ledger.open) >= limits.partition_requests
            or ledger.bytes >= ledger.most_bytes
            or ledger.window >= WINDOW
        )

    def _has_room(self, ledger: PartitionLedger) -> bool:
        limits = self._limits
        return not ledger.open or (
            len(ledger.open) <= limits.partition_requests // 2
            and ledger.bytes <= ledger.most_bytes // 2
            and ledger.window <= WINDOW // 2
        )

    def _less(self, partition: Partition, ledger: PartitionLedger, cost: int) -> None:
        self._bytes -= cost
        if ledger.full and self._has_room(ledger):
            ledger.full = False
            self._gate(partition, ledger)
        if self._bytes <= self._next_open:
            self._on_less()

    def _unweigh(self, record: Record) -> int:
        if not self._contents:
            return 0
        return self._contents.get((record.topic, record.partition), {}).pop(record.offset, 0)

    def _on_more(self) -> None:
        self._closed |= {lane for lane, limit in self._closes.items() if self._bytes >= limit}
        self._on_lanes()

    def _on_less(self) -> None:
        self._closed -= {lane for lane, limit in self._closes.items() if self._bytes <= limit // 2}
        self._named = {each for each in self._named if self._lanes[each[0]] in self._closed}
        self._on_lanes()

    def _on_lanes(self) -> None:
        self._watch()
        for partition, ledger in self._ledgers.items():
            self._fill(partition, ledger)

    def _watch(self) -> None:
        closed, limits = self._closed, self._closes
        self._next_close = min((limits[lane] for lane in limits if lane not in closed), default=inf)
        self._next_open = max((limits[lane] // 2 for lane in closed), default=-1)

    def _fill(self, partition: Partition, ledger: PartitionLedger) -> None:
        is_closed = self._lanes[partition[0]] in self._closed
        ledger.most_bytes = self._floor if is_closed else self._limits.partition_bytes
        ledger.full = not self._has_room(ledger) if ledger.full else self._is_full(ledger)
        self._gate(partition, ledger)

    def _gate(self, partition: Partition, ledger: PartitionLedger) -> None:
        if self._hold or ledger.full or ledger.rests:
            self.gated.add(partition)
        else:
            self.gated.discard(partition)
