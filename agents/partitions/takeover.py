"""The partitions of this node: taken over where the last owner stopped, given back in order."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count, islice
from typing import Any, Protocol, TypeVar

import structlog
from confluent_kafka import KafkaException

from modelmora.agents.partitions.beginning import Beginning, Oddity
from modelmora.agents.partitions.care import Care
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.lease import Lease
from modelmora.agents.partitions.ledger import Commit, read_metadata
from modelmora.agents.partitions.places import (
    IsTold,
    Place,
    Places,
    Plain,
    anybody,
    signed,
    unsigned,
)
from modelmora.errors import Unreachable
from modelmora.kafka.batches import Batch, Commits, Partition
from modelmora.kafka.reading.standing import Standing

log = structlog.get_logger(__name__)
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
SLACK_MS = 2_000  # by which an estimate of the broker's time may run ahead
_ACKNOWLEDGE_S = 1.5

T = TypeVar("T")
Told = Callable[[Oddity, Partition, Mapping[str, int]], None]


class Reader(Protocol):
    """The member of the group; see `modelmora.kafka.group`."""

    @property
    def committing(self) -> bool:
        """Whether a commit is under way."""

    def read(self, places: Mapping[Partition, tuple[int, int]]) -> None:
        """Read each partition from its (epoch, offset) on."""

    def renew(self, partition: Partition, epoch: int) -> None:
        """Have it assigned anew, under another epoch."""

    def commit(self, commits: Commits) -> None:
        """Have the group commit."""


class Work(Protocol):
    """What is done with what was read."""

    def forget(self, partitions: set[Partition]) -> None:
        """Drop all work of these partitions, started or not, without an outcome."""

    async def written(self) -> None:
        """Wait until the outcomes that were handed over are acknowledged or given up."""

    def since_ms(self) -> float:
        """The broker's time (Unix ms) up to which every outcome written is counted as done."""


class Partitions:
    """The `Owner` of a member of the group (see `modelmora.kafka.group`).

    A new owner first reads the outcomes written since the last commit, so that it gives no second
    one; a former owner gives none after its lease. Neither is needed where outcomes are committed
    in one transaction with their offsets: the broker refuses those of a former owner.
    """

    reader: Reader

    def __init__(
        self,
        intake: Intake,
        lease: Lease,
        standing: Standing,
        results: str,
        work: Work,
        *,
        on_batches: Callable[[Sequence[Batch]], None],
        on_due: Callable[[], None] | None = None,
        on_odd: Told = lambda *_: None,
        on_failed: Callable[[str], None] = lambda _: None,
        tiers: Iterable[str] = (),
        plain: Plain | None = None,
        care: Care | None = None,
        is_told: IsTold = anybody,
    ) -> None:
        """`on_due` has the publisher commit; None: the reader does, beside the publisher."""
        self.intake = intake
        self.care = care or Care(intake)
        self.care.commit = self.commit
        self._on_due = on_due
        self._lease = lease
        self._standing = standing
        self._places = Places(standing, results, tiers, plain, is_told)
        self._work = work
        self.on_batches = on_batches
        self.on_failed = on_failed
        self._on_odd = on_odd
        self._epochs: dict[Partition, int] = {}
        self._oldest: OrderedDict[Partition, None] = OrderedDict()
        """The partitions read, the one whose commit is oldest first."""
        self._fresh: set[Partition] = set()
        """Those of them of which nothing was committed here yet."""
        self._logs: dict[str, str] = {}
        self._held: dict[Partition, tuple[int, int]] = {}
        """Epoch and offset of those that are not read before they are committed."""
        self._leaving: set[Partition] = set()
        """What is left, until a transaction has told so."""
        self._left = asyncio.Event()
        self._read: dict[Partition, int] = {}
        """How far those were read that are to be taken anew."""
        self._tasks: set[asyncio.Task[None]] = set()
        # One thread, for the client that asks is not made for two.
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="standing")
        self.settled = asyncio.Event()
        """Set once some were taken over, or others are known to have all."""

    def close(self) -> None:
        """Take nothing over any more."""
        for task in self._tasks:
            task.cancel()
        self._asking.submit(self._standing.close)
        self._asking.shutdown(wait=False)

    async def ask(self, question: Callable[..., T], *arguments: object) -> T:
        """Ask the broker, in the one thread that may. Raises KafkaException, Unreachable."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._asking, question, *arguments)
        except (KafkaException, Unreachable):
            # What a client knows of its brokers may be what was true before they failed.
            await loop.run_in_executor(self._asking, self._standing.renew)
            raise

    # The group's word ----------------------------------------------------------------------------

    def on_assigned(self, epochs: Mapping[Partition, int]) -> None:
        """Find out where to begin, then read."""
        self._epochs |= epochs
        if epochs:
            self._start(self._take_over(dict(epochs)))

    async def on_revoked(self, partitions: set[Partition]) -> Commits:
        """Drop their work, see what is being written to its end, and say what was done."""
        self._forget(partitions)
        if self._on_due:
            await self._say_left(partitions)
            self.intake.revoke(partitions)
            return {}
        self.intake.leave(partitions)
        try:
            await asyncio.wait_for(self._work.written(), _ACKNOWLEDGE_S)
        except TimeoutError:
            log.warning("outcomes not acknowledged in time, they may be repeated")
        since = self.since_ms()
        commits = {p: c for p in partitions if (c := self.intake.commit_of(p, since))}
        self.intake.revoke(partitions)
        return self.signed(commits)

    def on_lost(self, partitions: set[Partition]) -> None:
        """Others have them already, so nothing is written for them any more."""
        self._lease.lapse()
        self._forget(partitions)
        self.intake.revoke(partitions)

    def on_stuck(self, partition: Partition, epoch: int, offset: int, reason: str) -> None:
        """Look at the log, and read on where there is something."""
        log.warning("nothing to read there", partition=partition, reason=reason)
        self._start(self._get_on(partition, epoch, offset))

    def on_logs(self, logs: Mapping[str, str]) -> None:
        """What lies under the topics' names now: what was made anew is taken over anew."""
        for topic in logs.keys() & self._logs.keys():
            if self._logs[topic] == logs[topic]:
                continue
            self._logs[topic] = logs[topic]
            for partition in [each for each in self._oldest if each[0] == topic]:
                log.warning("made anew while it was read", partition=partition)
                self._start(self._take_anew(partition, self._epochs[partition]))

    def on_committed(self, commits: Commits, asked_at: float, error: str | None) -> None:
        """A confirmed commit is a lease, too."""
        if error:
            log.warning("commit failed, will be tried again", error=error)
            return
        self._lease.confirmed(asked_at)
        self._fresh -= commits.keys()
        for partition in commits.keys() & self._oldest.keys():
            self._oldest.move_to_end(partition)
        ours = {p: unsigned(*each)[0] for p, each in commits.items()}
        self.intake.on_committed(ours)
        self.on_told(ours)

    def on_told(self, commits: Mapping[Partition, Commit]) -> None:
        """The group has these commits, of the ledger's own form: what waited for them goes on."""
        self.care.confirmed(commits)
        # A transaction that was under way before does not say that they are left.
        self._leaving -= {p for p in self._leaving & commits.keys() if _is_left(commits[p])}
        if not self._leaving:
            self._left.set()
        if starts := {p: self._held.pop(p) for p in commits.keys() & self._held.keys()}:
            self.reader.read(starts)
        if self._held:
            self.commit()

    # Committing ----------------------------------------------------------------------------------

    def commit(self) -> None:
        """Have committed what has changed, and what was taken over and never committed here.

        Beside it, or where nothing has changed and the lease is due, the oldest commit is renewed:
        a new owner reads the outcomes since then.
        """
        if self._on_due:
            if not self.intake.is_committed:
                self._on_due()
            return
        if self.reader.committing:
            return
        since = self.since_ms()
        commits = self.intake.to_commit(since)
        due = [*islice(self._oldest, 1)] if commits or self._lease.is_due else []
        for partition in (*self._fresh, *due):
            if commit := self.intake.commit_of(partition, since):
                commits[partition] = commit
        if commits:
            self.reader.commit(self.signed(commits))

    def signed(self, commits: Commits) -> Commits:
        """The commits with the name of the log that they are for."""
        return signed(commits, self._logs)

    def since_ms(self) -> int:
        """The broker's time (Unix ms) since which outcomes may be missing in a commit."""
        since = self._work.since_ms()  # minus infinity while the broker has told no time
        return round(since - SLACK_MS) if since > SLACK_MS else 0

    # Taking over ---------------------------------------------------------------------------------

    async def _take_over(self, epochs: dict[Partition, int]) -> None:
        places: Mapping[Partition, Place] = {}
        for attempt in count():
            epochs = self._present(epochs)
            try:
                places = await self.ask(self._places.find, set(epochs), {**self._read})
                break
            except (KafkaException, Unreachable) as error:
                log.warning("where to begin is not known yet", error=str(error))
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        starts: dict[Partition, tuple[int, int]] = {}
        for partition, epoch in self._present(epochs).items():
            place = places[partition]
            self._logs[partition[0]] = place.log
            offset = place.begin.offset
            known = place.finished, place.since_ms or 0, place.answered
            self.intake.assign(partition, epoch, offset, *known)
            self._read.pop(partition, None)
            starts[partition] = epoch, offset
            self._oldest[partition] = None
            self._fresh.add(partition)
            if self._on_due:
                self.intake.claim(partition)  # under our own transactional id
            self._suspect(partition, place)
            self._tell_odd(partition, place)
        self._read_once_told(starts)
        log.info("partitions taken over", taken=len(epochs), owned=len(self._epochs))
        self.commit()
        self.settled.set()

    def _suspect(self, partition: Partition, place: Place) -> None:
        """See whether what lies there may have ended its last owner."""
        if place.was_committed and not place.begin.oddity:
            self.care.take_over(partition, place.suspects, place.end)

    def _read_once_told(self, starts: Mapping[Partition, tuple[int, int]]) -> None:
        """Nothing is read before a commit of ours says when that was, and who died before.

        Else the next owner could not look back, nor know that we died of what we read.
        """
        self._held |= starts

    async def _say_left(self, partitions: set[Partition]) -> None:
        """Have a transaction tell that what is suspected was left, and that nobody died of it."""
        for partition in partitions:
            if (ledger := self.intake.ledger(partition)) and ledger.suspects:
                self._leaving.add(partition)
                self.intake.claim(partition)
        self.intake.leave(self._leaving)
        if not self._leaving or self._on_due is None:
            return
        self._left.clear()
        self._on_due()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._left.wait(), _ACKNOWLEDGE_S)
        self._leaving.clear()

    async def _get_on(self, partition: Partition, epoch: int, offset: int) -> None:
        """Reading stands at an offset that is not there; what lies before it may wait to be taken.

        (1) Records before the first were deleted unread: counted, and read on from that.
        (2) The log ends before it: it was cut back, so the partition is taken over anew.
        (3) Else it is there by now.
        """
        first = end = 0
        for attempt in count():
            try:
                first, end = (await self.ask(self._standing.bounds, [partition]))[partition]
                break
            except (KafkaException, KeyError, Unreachable):
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        position = self.intake.next_offset(partition)
        if self._epochs.get(partition) != epoch or position is None:
            return
        # (1)
        if position < first:
            begin = Beginning(first, oddity=Oddity.DELETED_UNREAD, unread=first - position)
            self._tell_odd(partition, Place(begin, self._logs[partition[0]], position, first, end))
        # (2)
        elif offset > end:
            await self._take_anew(partition, epoch, offset)
            return
        # (3)
        self.reader.read({partition: (epoch, max(position, first))})

    async def _take_anew(self, partition: Partition, epoch: int, read: int = 0) -> None:
        """Let go of it, and have it again as another: its offsets mean other records now.

        First what is being written is awaited, for it ends records that lay there before.
        """
        self._read[partition] = read
        self._forget({partition})
        self.intake.revoke({partition})
        await self._written()
        self.reader.renew(partition, epoch)

    async def _written(self) -> None:
        """Behind this nothing that was handed over before is still to be appended."""
        try:
            await asyncio.wait_for(self._work.written(), self._lease.write_s)
        except TimeoutError:
            log.warning("outcomes not acknowledged in time, they may be repeated")

    def _present(self, epochs: Mapping[Partition, int]) -> dict[Partition, int]:
        return {p: epoch for p, epoch in epochs.items() if self._epochs.get(p) == epoch}

    def _forget(self, partitions: set[Partition]) -> None:
        for partition in partitions:
            self._epochs.pop(partition, None)
            self._oldest.pop(partition, None)
            self._held.pop(partition, None)
            self._fresh.discard(partition)
        self.care.drop(partitions)
        self._work.forget(partitions)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="partitions")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("partitions were not taken over", exc_info=error)
            self.on_failed("partitions were not taken over")

    def _tell_odd(self, partition: Partition, place: Place) -> None:
        begin = place.begin
        if begin.oddity is None:
            return
        facts = {
            "position_offset": place.committed,
            "first_offset": place.first,
            "end_offset": place.end,
            "begin_offset": begin.offset,
            "unread_offsets": begin.unread,
        }
        log.error("the commit does not fit the log", what=begin.oddity, at=partition, **facts)
        self._on_odd(begin.oddity, partition, facts)


def _is_left(commit: Commit) -> bool:
    told = read_metadata(*commit).suspects
    return told is not None and told.clean
