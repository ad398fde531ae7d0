"""What is committed in the transaction that writes outcomes: the `Books` of its publisher."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.ledger import Commit
from modelmora.kafka.batches import Commits, Partition
from modelmora.kafka.writing.books import Due, Dues
from modelmora.kafka.writing.outbox import Record


class Books:
    """Offsets and bitmaps as they are once a transaction has gone through.

    One transaction at a time: they are the only commits of this node, so an older bitmap never
    takes the place of a newer one.
    """

    def __init__(
        self,
        intake: Intake,
        since_ms: Callable[[], int],
        bearer: str,
        sign: Callable[[Commits], Commits] = lambda commits: commits,
        on_paid: Callable[[Mapping[Partition, Commit]], None] = lambda _: None,
    ) -> None:
        """`since_ms` is the broker's time, `bearer` the transactional id.

        `sign` adds to the ledger's commits what the ledger does not know. `on_paid` hears what the
        group has.
        """
        self._intake = intake
        self._sign = sign
        self._on_paid = on_paid
        self._commits: dict[Partition, Commit] = {}
        self._since_ms = since_ms
        self._bearer = bearer
        self._since = 0

    def dues(self, records: Sequence[Record]) -> Dues:
        """What is to be committed together with these outcomes."""
        outcomes: defaultdict[Partition, list[int]] = defaultdict(list)
        for record in records:
            if record.ends:
                outcomes[record.ends.partition].append(record.ends.offset)
        self._since = self._since_ms()
        self._commits = self._intake.commits_after(outcomes, self._since, self._bearer)
        epochs = {each: self._intake.epoch(each) for each in self._commits}
        signed = self._sign(self._commits)
        return {
            each: Due(epoch, *signed[each]) for each, epoch in epochs.items() if epoch is not None
        }

    def paid(self, dues: Dues) -> None:
        """That has been committed, and its outcomes were marked done."""
        commits = {each: self._commits[each] for each in dues}
        self._intake.on_written(commits, self._since, self._bearer)
        self._on_paid(commits)
