"""Where the reading of partitions begins: what is asked of the broker when they are taken over."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Message

from modelmora.agents.partitions.beginning import Beginning, beginning
from modelmora.agents.partitions.janitor import committed
from modelmora.agents.partitions.ledger import Commit, read_metadata
from modelmora.errors import Undecodable
from modelmora.kafka.batches import Commits, Partition, Record, headers_of, record_of
from modelmora.kafka.standing import Standing
from modelmora.serving.request import place_read, request_id_of
from modelmora.wire import decode_result, decode_result_source

SEPARATOR = "/"  # in no metadata of a ledger, and in no name of a log

Plain = Callable[[bytes], bytes | None]


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
    since_ms: int = 0
    """From when on the commit may lack outcomes (Unix ms)."""
    answered: Mapping[int, str] = field(default_factory=dict)
    """Ids of requests that are said to have been handed on from here."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What `results`, and the topics of what was put off, say of each partition's requests."""

    read_at: defaultdict[Partition, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The offsets of those that were answered where they lay."""
    elsewhere: defaultdict[Partition, dict[int, str]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """The ids of those that were handed on from here, or answered where they were, by offset."""

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

        Where it was read it counts for a request of the same id, too.
        """
        if at := place_read(record.headers):
            self.elsewhere[at.topic, at.partition][at.offset] = request_id_of(record, plain)


class Places:
    """Asks the broker. Blocking, and for one thread; raises KafkaException, Unreachable."""

    def __init__(
        self,
        standing: Standing,
        results: str,
        tiers: Iterable[str] = (),
        plain: Plain | None = None,
    ) -> None:
        """`tiers` are the topics of what was put off."""
        self._standing = standing
        self._results = results
        self._tiers = tuple(tiers)
        self._plain = plain or (lambda value: value)

    def find(self, partitions: set[Partition]) -> dict[Partition, Place]:
        """Where each begins, by what was committed, what lies there, and what `results` says."""
        commits = committed(self._standing, partitions)
        bounds = self._standing.bounds(partitions)
        logs = self._standing.logs({topic for topic, _ in partitions})
        ours = {p: unsigned(*each) for p, each in commits.items()}
        known = {p: read_metadata(*commit) for p, (commit, _) in ours.items()}
        since = {p: each.since_ms for p, each in known.items() if each.since_ms is not None}
        beyond = {p for p, (offset, _) in commits.items() if offset > bounds[p][1]}
        written = self._standing.at({p: since[p] for p in beyond & since.keys()})
        unsure = {p: ms for p, ms in since.items() if known[p].bearer is None}
        ended = self._outcomes(unsure) if unsure else Outcomes()
        places: dict[Partition, Place] = {}
        for partition in partitions:
            log, (first, end) = logs[partition[0]], bounds[partition]
            offset, _ = commits.get(partition, (None, ""))
            time_known = partition in since
            log_of = ours[partition][1] if partition in ours else ""
            begin = beginning(
                offset,
                first,
                end,
                written.get(partition, end) if time_known else None,
                same_log=log_of in ("", log),
            )
            finished = frozenset[int]()
            answered: Mapping[int, str] = {}
            if begin.trusts and partition in known:
                finished = frozenset(known[partition].finished)
            if begin.trusts and partition in unsure:
                finished |= ended.read_at[partition]
                # Beyond the end it is a lie, and would never be read.
                there = ended.elsewhere[partition].items()
                answered = {at: told for at, told in there if begin.offset <= at < end}
            shown = first if offset is None else offset
            told = finished, since.get(partition, 0), answered
            places[partition] = Place(begin, log, shown, first, end, *told)
        return places

    def _outcomes(self, since: Mapping[Partition, int]) -> Outcomes:
        """Those written since the commits of these partitions, and what was put off since."""
        found, began = Outcomes(), min(since.values())

        def take(message: Message) -> None:
            value = message.value()
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
