"""The partitions of this node: taken over where the last owner stopped, given back in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Protocol, TypeVar

import structlog
from confluent_kafka import KafkaException, Message

from modelmora.agents.beginning import Beginning, Oddity, beginning
from modelmora.agents.intake import Intake
from modelmora.agents.janitor import committed
from modelmora.agents.lease import Lease
from modelmora.agents.ledger import Commit, read_metadata
from modelmora.agents.results import read_at
from modelmora.errors import Undecodable, Unreachable
from modelmora.kafka.batches import Batch, Commits, Partition, headers_of
from modelmora.kafka.standing import Standing
from modelmora.wire import decode_result, decode_result_source

log = structlog.get_logger(__name__)
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
SEPARATOR = "/"  # in no metadata of a ledger, and in no name of a log
SLACK_MS = 2_000  # by which an estimate of the broker's time may run ahead
_ACKNOWLEDGE_S = 1.5

T = TypeVar("T")
Told = Callable[[Oddity, Partition, Mapping[str, int]], None]
Plain = Callable[[bytes], bytes | None]


class Reader(Protocol):
    """The member of the group; see `modelmora.kafka.group`."""

    @property
    def committing(self) -> bool:
        """Whether a commit is under way."""

    def read(self, places: Mapping[Partition, tuple[int, int]]) -> None:
        """Read each partition from its (epoch, offset) on."""

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a partition's reading begins and why; the offsets that have their outcome."""

    begin: Beginning
    committed: int
    first: int
    end: int
    finished: frozenset[int] = frozenset()
    answered: Mapping[int, str] = field(default_factory=dict)
    """Ids of requests that were handed on from here, and are said to have their outcome."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What `results` says of the requests of each partition."""

    read_at: defaultdict[Partition, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The offsets of those that were answered where they lay."""
    elsewhere: defaultdict[Partition, dict[int, str]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """The ids of those that were answered where they had been handed on to, by offset."""

    def take(self, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> None:
        """Take a record. Raises Undecodable.

        One that was handed on counts where it was read. Where it came from is only what its
        header said: it counts there for a request of the same id.
        """
        source = decode_result_source(value)
        partition = (source.topic, source.partition)
        at = read_at(headers)
        if at is None:
            self.read_at[partition].add(source.offset)
        else:
            self.read_at[source.topic, at[0]].add(at[1])
            self.elsewhere[partition][source.offset] = decode_result(value).request_id


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
        plain: Plain | None = None,
    ) -> None:
        """`on_due` has the publisher commit; None: the reader does, beside the publisher."""
        self.intake = intake
        self._on_due = on_due
        self._lease = lease
        self._standing = standing
        self._results = results
        self._work = work
        self._plain = plain
        self.on_batches = on_batches
        self.on_failed = on_failed
        self._on_odd = on_odd
        self._epochs: dict[Partition, int] = {}
        self._oldest: OrderedDict[Partition, None] = OrderedDict()
        """The partitions read, the one whose commit is oldest first."""
        self._fresh: set[Partition] = set()
        """Those of them of which nothing was committed here yet."""
        self._logs: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # One thread, for the client that asks is not made for two.
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="standing")
        self.taken_over = asyncio.Event()

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

    def on_stuck(self, partition: Partition, epoch: int, reason: str) -> None:
        """Look at the log, and read on where there is something."""
        log.warning("nothing to read there", partition=partition, reason=reason)
        self._start(self._get_on(partition, epoch))

    def on_committed(self, commits: Commits, asked_at: float, error: str | None) -> None:
        """A confirmed commit is a lease, too."""
        if error:
            log.warning("commit failed, will be tried again", error=error)
            return
        self._lease.confirmed(asked_at)
        self._fresh -= commits.keys()
        for partition in commits.keys() & self._oldest.keys():
            self._oldest.move_to_end(partition)
        self.intake.on_committed({p: _unsigned(*each)[0] for p, each in commits.items()})

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
        logs = self._logs
        return {
            p: (offset, f"{metadata}{SEPARATOR}{logs[p[0]]}")
            for p, (offset, metadata) in commits.items()
        }

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
                places = await self.ask(self._places, set(epochs))
                break
            except (KafkaException, Unreachable) as error:
                log.warning("where to begin is not known yet", error=str(error))
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        starts: dict[Partition, tuple[int, int]] = {}
        for partition, epoch in self._present(epochs).items():
            place = places[partition]
            offset = place.begin.offset
            self.intake.assign(partition, epoch, offset, place.finished, answered=place.answered)
            starts[partition] = epoch, offset
            self._oldest[partition] = None
            self._fresh.add(partition)
            if self._on_due:
                self.intake.claim(partition)  # under our own transactional id
            self._tell_odd(partition, place)
        self.reader.read(starts)
        log.info("partitions taken over", taken=len(starts), owned=len(self._epochs))
        self.commit()
        self.taken_over.set()

    async def _get_on(self, partition: Partition, epoch: int) -> None:
        """Reading stands at an offset that is not there.

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
            self._tell_odd(partition, Place(begin, position, first, end))
        # (2)
        elif position > end:
            self._forget({partition})
            self.intake.revoke({partition})
            self._epochs[partition] = epoch
            await self._take_over({partition: epoch})
            return
        # (3)
        self.reader.read({partition: (epoch, max(position, first))})

    def _present(self, epochs: Mapping[Partition, int]) -> dict[Partition, int]:
        return {p: epoch for p, epoch in epochs.items() if self._epochs.get(p) == epoch}

    def _forget(self, partitions: set[Partition]) -> None:
        for partition in partitions:
            self._epochs.pop(partition, None)
            self._oldest.pop(partition, None)
            self._fresh.discard(partition)
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
            "position": place.committed,
            "first": place.first,
            "end": place.end,
            "begins_at": begin.offset,
            "unread": begin.unread,
        }
        log.error("the commit does not fit the log", what=begin.oddity, at=partition, **facts)
        self._on_odd(begin.oddity, partition, facts)

    # In the asking thread ------------------------------------------------------------------------

    def _places(self, partitions: set[Partition]) -> dict[Partition, Place]:
        commits = committed(self._standing, partitions)
        bounds = self._standing.bounds(partitions)
        self._logs |= self._standing.logs({topic for topic, _ in partitions})
        unsigned = {p: _unsigned(*each) for p, each in commits.items()}
        known = {p: read_metadata(*commit) for p, (commit, _) in unsigned.items()}
        since = {p: each.since_ms for p, each in known.items() if each.since_ms is not None}
        beyond = {p for p, (offset, _) in commits.items() if offset > bounds[p][1]}
        written = self._standing.at({p: since[p] for p in beyond & since.keys()})
        unsure = {p: ms for p, ms in since.items() if known[p].bearer is None}
        ended = self._outcomes(unsure) if unsure else Outcomes()
        places: dict[Partition, Place] = {}
        for partition in partitions:
            first, end = bounds[partition]
            offset, _ = commits.get(partition, (None, ""))
            time_known = partition in since
            log_of = unsigned[partition][1] if partition in unsigned else ""
            begin = beginning(
                offset,
                first,
                end,
                written.get(partition, end) if time_known else None,
                same_log=log_of in ("", self._logs[partition[0]]),
            )
            finished = frozenset[int]()
            answered: Mapping[int, str] = {}
            if begin.trusts and partition in known:
                finished = frozenset(known[partition].finished)
            if begin.trusts and partition in unsure:
                finished |= ended.read_at[partition]
                answered = ended.elsewhere[partition]
            shown = first if offset is None else offset
            places[partition] = Place(begin, shown, first, end, finished, answered)
        return places

    def _outcomes(self, since: Mapping[Partition, int]) -> Outcomes:
        """Those written since the commits of these partitions."""
        found = Outcomes()

        def take(message: Message) -> None:
            value = message.value()
            if self._plain and value:
                value = self._plain(value)
            with contextlib.suppress(Undecodable):  # not ours
                found.take(value, headers_of(message) or ())

        self._standing.read(self._results, min(since.values()), take)
        return found


def _unsigned(offset: int, metadata: str) -> tuple[Commit, str]:
    """The ledger's own commit, and the name of the log that it is for, "" where it has none."""
    ours, _, log_of = metadata.rstrip("\0").partition(SEPARATOR)
    return Commit(offset, ours), log_of
