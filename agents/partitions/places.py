"""Where the reading of partitions begins: what is asked of the broker when they are taken over."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from confluent_kafka import Message

from modelmora.agents.partitions.beginning import Beginning, Oddity, beginning
from modelmora.agents.partitions.janitor import committed
from modelmora.agents.partitions.ledger import Commit, read_metadata
from modelmora.agents.partitions.suspects import Suspects
from modelmora.errors import Undecodable
from modelmora.kafka.batches import Commits, Partition, Record, headers_of, record_of
from modelmora.kafka.reading.standing import Standing
from modelmora.serving.request import place_read, request_id_of
from modelmora.wire import decode_result, decode_result_source

SEPARATOR = "/"  # in no metadata of a ledger, and in no name of a log

OF_ANOTHER_LOG = (Oddity.LOG_CUT_BACK, Oddity.MADE_ANEW)
NOTHING: Mapping[Partition, int] = {}

Plain = Callable[[bytes], bytes | None]
IsTold = Callable[[Sequence[tuple[str, bytes | None]], str], bool]
"""Whether a node has written where the request of this id comes from, as its headers say."""


def anybody(*_: object) -> bool:
    """Whoever has: proofs are not asked for."""
    return True


def signed(commits: Commits, logs: Mapping[str, str]) -> Commits:
    """The commits with the names of the logs that they are for."""
    return {
        p: (offset, f"{metadata}{SEPARATOR}{logs[p[0]]}")
        for p, (offset, metadata) in commits.items()
    }


def unsigned(offset: int, metadata: str) -> tuple[Commit, str]:
    """The ledger's own commit, and the name of the log that it is for, "" where it has none."""
    ours, _, log_of = metadata.rstrip("\0").partition(SEPARATOR)
    return Commit(offset, ours), log_of


@dataclass(frozen=True, slots=True)
class Place:
    """Where a partition's reading begins and why; the offsets that have their outcome."""

    begin: Beginning
    log: str
    """The name of the log that lies there; one made anew has another."""
    committed: int
    first: int
    end: int
    finished: frozenset[int] = frozenset()
    since_ms: int | None = None
    """Older outcomes (Unix ms) are all known by now, or of records that lay there before; None
    where no commit says."""
    answered: Mapping[int, str] = field(default_factory=dict)
    """Ids of requests that are said to have been handed on from here."""
    was_committed: bool = True
    suspects: Suspects | None = None
    """What the last owner's commit tells of who died before."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What `results`, and the topics of what was put off, say of each partition's requests."""

    read_at: defaultdict[Partition, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The offsets of those that were answered where they lay."""
    elsewhere: defaultdict[Partition, dict[int, str]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """The ids of those that were handed on from here, or answered where they were, by offset."""
    times: list[int] = field(default_factory=lambda: [0])
    """When the outcomes were written (Unix ms)."""
    is_told: IsTold = anybody
    """Whether a node has written where a request was handed on from."""

    def take(self, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> None:
        """Take a record. Raises Undecodable.

        One that was handed on counts where it was read. Where it came from is only what its
        header said: it counts there for a request of the same id.
        """
        source = decode_result_source(value)
        partition = (source.topic, source.partition)
        at = place_read(headers)
        if at is None:
            self.read_at[partition].add(source.offset)
        else:
            self.read_at[at.topic, at.partition].add(at.offset)
            self.elsewhere[partition][source.offset] = decode_result(value).request_id

    def take_handed_on(self, record: Record, plain: bytes | None) -> None:
        """Take a record that was put off; `plain` is its value in single-object encoding.

        Where it was read it counts for a request of the same id, too, if a node has said so.
        """
        if at := place_read(record.headers):
            request_id = request_id_of(record, plain)
            if self.is_told(record.headers, request_id):
                self.elsewhere[at.topic, at.partition][at.offset] = request_id


class Places:
    """Asks the broker. Blocking, and for one thread; raises KafkaException, Unreachable."""

    def __init__(
        self,
        standing: Standing,
        results: str,
        tiers: Iterable[str] = (),
        plain: Plain | None = None,
        is_told: IsTold = anybody,
    ) -> None:
        """`tiers` are the topics of what was put off."""
        self._is_told = is_told
        self._standing = standing
        self._results = results
        self._tiers = tuple(tiers)
        self._plain = plain or (lambda value: value)

    def find(
        self, partitions: Set[Partition], read: Mapping[Partition, int] = NOTHING
    ) -> dict[Partition, Place]:
        """Where each begins, by what was committed, what lies there, and what `results` says.

        `read`: how far some were read here already.
        """
        commits = committed(self._standing, partitions)
        bounds = self._standing.bounds(partitions)
        logs = self._standing.logs({topic for topic, _ in partitions})
        ours = {p: unsigned(*each) for p, each in commits.items()}
        known = {p: read_metadata(*commit) for p, (commit, _) in ours.items()}
        since = {p: each.since_ms for p, each in known.items() if each.since_ms is not None}
        unsure = {p: ms for p, ms in since.items() if known[p].bearer is None}
        ended = self._outcomes(unsure) if unsure else Outcomes()
        finished = {p: {*each.finished} for p, each in known.items()}
        for p in unsure:
            finished[p] |= ended.read_at[p]
        reached = {
            p: max(read.get(p, 0), commit[0], *(each + 1 for each in finished[p]))
            for p, commit in commits.items()
        }
        beyond = {p for p, offset in reached.items() if offset > bounds[p][1]}
        written = self._standing.at({p: since[p] for p in beyond & since.keys()})
        places: dict[Partition, Place] = {}
        for p in partitions:
            log, (first, end) = logs[p[0]], bounds[p]
            offset, _ = commits.get(p, (None, ""))
            begin = beginning(
                offset,
                first,
                end,
                written.get(p, end) if p in since else None,
                reached=reached.get(p, 0),
                same_log=p not in ours or ours[p][1] in ("", log),
            )
            since_ms = max(ended.times) + 1 if begin.oddity in OF_ANOTHER_LOG else since.get(p)
            shown = first if offset is None else offset
            done = frozenset(each for each in finished.get(p, ()) if each < begin.until)
            # Beyond the end it is a lie, and would never be read.
            most = min(begin.until, end)
            there = ended.elsewhere[p].items() if p in unsure else ()
            answered = {at: name for at, name in there if begin.offset <= at < most}
            told = known[p].suspects if p in known else None
            where = (begin, log, shown, first, end, done, since_ms, answered)
            places[p] = Place(*where, offset is not None, told)
        return places

    def _outcomes(self, since: Mapping[Partition, int]) -> Outcomes:
        """Those written since the commits of these partitions, and what was put off since."""
        found, began = Outcomes(is_told=self._is_told), min(since.values())

        def take(message: Message) -> None:
            value = message.value()
            found.times.append(message.timestamp()[1])
            with contextlib.suppress(Undecodable):  # not ours
                found.take(value and self._plain(value), headers_of(message) or ())

        def take_handed_on(message: Message) -> None:
            record = record_of(message, message.topic(), message.partition(), 0)
            if isinstance(record, Record):
                found.take_handed_on(record, record.value and self._plain(record.value))

        self._standing.read(self._results, began, take)
        for topic in self._tiers:
            self._standing.read(topic, began, take_handed_on)
        return found
