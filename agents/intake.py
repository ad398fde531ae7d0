"""What this node holds of each partition: its ledger, whether it is full, who owns it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from modelmora.agents.ledger import Commit, Ledger, Partition, PartitionLedger
from modelmora.kafka.unreadable import Unreadable
from modelmora.serving import Record
from modelmora.settings import Limits


class Batch(NamedTuple):
    """What one fetch has brought of one partition, in offset order; never empty."""

    after: int
    """The offset behind the batch before it."""
    records: Sequence[Record | Unreadable]


class Intake:
    """The partitions of this node. Bounds what waits (invariant I5).

    A partition is gated when its open requests reach `partition_requests` or `partition_bytes`,
    or the node's reach `node_bytes`, and opened again at half of that.

    Records are taken only between an assignment and its end (`assign`, `close`): one that comes
    in between lies behind the wrong offset and would let a commit pass what was not read.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ledger = Ledger()
        self._bytes = 0
        self.gated: set[Partition] = set()
        self.reading = False
        self.epoch = 0
        """The number of the assignment; a fetch that saw another number is not to be used."""
        self._committing = False

    def begin(self, record: Record) -> bool:
        """Enter a record. False: it is in flight here, was finished before, or is not ours."""
        partition = (record.topic, record.partition)
        ledger = self._ledger.get(partition)
        if ledger is None or not self.reading:
            return False
        before = ledger.open_bytes
        fresh = ledger.begin(record.offset, _size(record))
        self._bytes += ledger.open_bytes - before
        if self._full(ledger):
            self.gated.add(partition)
        return fresh

    def owes(self, record: Record) -> bool:
        """Whether the record's outcome is still to be given here."""
        ledger = self._ledger.get((record.topic, record.partition))
        return ledger is not None and ledger.is_open(record.offset)

    def follows(self, partition: Partition, after: int) -> bool:
        """Whether everything below `after` was taken, as far as there is anything.

        If not, records were handed over and got lost on the way; reading then goes back to them.
        """
        next_offset = self.next_offset(partition)
        if next_offset is None or next_offset >= after:
            return True
        self.epoch += 1
        return False

    def done(self, record: Record) -> None:
        """The record's outcome is acknowledged."""
        partition = (record.topic, record.partition)
        ledger = self._ledger.get(partition)
        if ledger is None:
            return
        before = ledger.open_bytes
        ledger.done(record.offset)
        self._bytes += ledger.open_bytes - before
        if self.gated:
            self._open_gates()

    def assign(self, committed: Mapping[Partition, tuple[int, str]]) -> None:
        """Own exactly these partitions, each from its committed offset and metadata.

        Work that was started before and still runs goes on; it will be read again, not run again.
        """
        old, self._ledger = self._ledger, Ledger()
        self.gated.clear()
        self._bytes = 0
        for partition, (offset, metadata) in committed.items():
            before = old.get(partition)
            running = before.running() if before else ()
            finished = before.finished() if before else ()
            self._ledger.own(partition).restore(offset, metadata, running, finished)
        self.epoch += 1
        self.reading = self._committing = True

    def close(self) -> None:
        """Take no more records until the next assignment; those taken may end, and be committed."""
        self.reading = False

    def settle(self) -> None:
        """Commit no more until the next assignment: what was committed is what others read."""
        self._committing = False

    def drop(self, records: Iterable[Record]) -> None:
        """Nobody here works on these any more: whoever owns them next reads them again."""
        for record in records:
            if ledger := self._ledger.get((record.topic, record.partition)):
                ledger.drop(record.offset)

    def next_offset(self, partition: Partition) -> int | None:
        """The lowest offset that was not read yet; None when nothing was."""
        ledger = self._ledger.get(partition)
        return ledger.next_offset if ledger else None

    def to_commit(self, partitions: Set[Partition]) -> dict[Partition, Commit]:
        """What is to be committed now."""
        if not self._committing:
            return {}
        return {
            partition: commit
            for partition in partitions
            if (ledger := self._ledger.get(partition)) and (commit := ledger.to_commit())
        }

    def on_committed(self, commits: Mapping[Partition, Commit]) -> None:
        """The broker has taken these commits."""
        for partition, commit in commits.items():
            if ledger := self._ledger.get(partition):
                ledger.committed(commit)

    def partitions(self) -> set[Partition]:
        """What this node owns."""
        return set(self._ledger)

    @property
    def open_requests(self) -> int:
        """Requests read that owe their outcome."""
        return sum(self._ledger[partition].open_count for partition in self._ledger)

    @property
    def open_bytes(self) -> int:
        """Bytes of those."""
        return self._bytes

    def _full(self, ledger: PartitionLedger) -> bool:
        limits = self._limits
        return (
            ledger.open_count >= limits.partition_requests
            or ledger.open_bytes >= limits.partition_bytes
            or self._bytes >= limits.node_bytes
        )

    def _open_gates(self) -> None:
        if self._bytes > self._limits.node_bytes // 2:
            return
        # Any partition may have been gated for the node's sake, so all are looked at.
        limits = self._limits
        for each in [*self.gated]:
            ledger = self._ledger.get(each)
            if ledger is None or (
                ledger.open_count <= limits.partition_requests // 2
                and ledger.open_bytes <= limits.partition_bytes // 2
            ):
                self.gated.discard(each)


def _size(record: Record) -> int:
    """Bytes of the record that wait here: its value, and headers as far as it has any."""
    size = len(record.value or b"")
    if record.headers:
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
    return size
