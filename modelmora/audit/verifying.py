"""Whether what lies on `audit` is what was told, and where it is not; decides, reads nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from modelmora.audit.anchors import Anchor
from modelmora.audit.auditor import GAP, STOP
from modelmora.audit.signing import is_signed
from modelmora.errors import Undecodable
from modelmora.messages import AuditEvent
from modelmora.text import counted, printable
from modelmora.wire import decode_audit


class Fault(StrEnum):
    """What is wrong."""

    UNREADABLE = "unreadable"
    SIGNATURE = "signature"
    KEY = "key"
    MISSING = "missing"
    ORDER = "order"
    REWRITTEN = "rewritten"
    TRUNCATED = "truncated"
    ANCHOR = "anchor"


@dataclass(frozen=True, slots=True)
class Line:
    """A record as it lies there, in the order of its partition."""

    place: str
    partition: int
    offset: int
    value: bytes | None
    signature: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at a place, in words; `writer` is None where no record can be read."""

    fault: Fault
    place: str
    writer: str | None
    message: str


@dataclass(slots=True)
class Writer:
    """What was found of one process."""

    name: str
    public_key: bytes
    partition: int
    first: int
    first_place: str
    digests: dict[int, bytes] = field(default_factory=dict)
    """SHA-256 of each record by its number."""
    last: int = -1
    last_place: str = ""
    lost: list[str] = field(default_factory=list)
    """What it says itself that it could not write."""
    heads: int = 0
    """How often `events` tells how far it has come: what is cut off behind the last is not seen."""
    ended: bool = False
    """It has told its end; else it runs, or was killed, and may have had more to tell."""


@dataclass(slots=True)
class Report:
    """All that was found; nothing is wrong where there are no findings."""

    records: int = 0
    repeated: int = 0
    """Records that lie there twice, as they do where a broker's answer was lost."""
    anchors: int = 0
    writers: dict[str, Writer] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    strangers: set[tuple[str, bytes]] = field(default_factory=set)
    """Keys that sign for a writer and may not; told of once, their records count for nothing."""


def verify(
    lines: Iterable[Line],
    anchors: Iterable[Anchor],
    kept_from: Mapping[int, int],
    trusted: Collection[str] = (),
) -> Report:
    """Hold records against their chains, and these against what was told of them on `events`.

    `kept_from` is the first offset that each partition keeps: what lay before it went by its age.
    `trusted` are the public keys (hex) that may sign; with none, any may.
    """
    report = Report()
    keys = frozenset(map(bytes.fromhex, trusted))
    for line in lines:
        report.records += 1
        _take(report, line, keys)
    for writer in report.writers.values():
        if writer.first and not kept_from.get(writer.partition, 0):
            told = f"records 0 to {writer.first - 1} of it are gone from the beginning"
            _add(report, Fault.TRUNCATED, writer.first_place, printable(writer.name), told)
    for anchor in anchors:
        report.anchors += 1
        _hold(report, anchor, kept_from, keys)
    return report


def _take(report: Report, line: Line, trusted: Collection[bytes]) -> None:
    """One record.

    (1) It must be one. (2) Its writer's key has signed it, and may; else it is nobody's word, and
    must not make what follows look wrong. (3) It may lie there again. (4) Its number follows that
    of the record before, (5) and it names that record's digest.
    """
    # (1)
    try:
        event = decode_audit(line.value)
    except Undecodable as error:
        _add(report, Fault.UNREADABLE, line.place, None, error.message)
        return
    value = line.value or b""
    name = printable(event.writer)
    writer = report.writers.get(event.writer)
    # (2)
    if not is_signed(event.public_key, line.signature, value):
        told = f"record {event.sequence} is not as it was signed"
        _add(report, Fault.SIGNATURE, line.place, name, told)
        return
    if fault := _key_fault(event, writer, trusted):
        if (event.writer, event.public_key) not in report.strangers:
            report.strangers.add((event.writer, event.public_key))
            _add(report, Fault.KEY, line.place, name, fault)
        return
    digest = sha256(value).digest()
    if writer is None:
        first = (event.public_key, line.partition, event.sequence, line.place)
        writer = Writer(event.writer, *first)
        report.writers[event.writer] = writer
    # (3)
    elif writer.digests.get(event.sequence) == digest:
        report.repeated += 1
        return
    else:
        _follow(report, line, event, writer)
    _note(writer, line, event, digest)


def _key_fault(event: AuditEvent, writer: Writer | None, trusted: Collection[bytes]) -> str | None:
    key = event.public_key
    if writer and writer.public_key != key:
        return f"record {event.sequence} is signed with another key than those before it"
    if trusted and key not in trusted:
        return f"it signs with the key {key.hex()}, which audit.trusted does not name"
    return None


def _follow(report: Report, line: Line, event: AuditEvent, writer: Writer) -> None:
    number, last = event.sequence, writer.last
    before = f"record {number} at {line.place}"
    # (4)
    if number in writer.digests:
        told = f"there are two records {number}, which differ"
        _add(report, Fault.REWRITTEN, line.place, printable(writer.name), told)
    elif number < last:
        told = f"record {number} lies behind record {last}"
        _add(report, Fault.ORDER, line.place, printable(writer.name), told)
    elif number > last + 1:
        told = f"records {last + 1} to {number - 1} are missing between {writer.last_place} and it"
        _add(report, Fault.MISSING, line.place, printable(writer.name), told)
    # (5)
    elif event.previous != writer.digests[last]:
        told = f"{before} does not follow from record {last} at {writer.last_place}"
        _add(report, Fault.REWRITTEN, line.place, printable(writer.name), told)


def _note(writer: Writer, line: Line, event: AuditEvent, digest: bytes) -> None:
    writer.digests.setdefault(event.sequence, digest)
    if event.sequence > writer.last:
        writer.last, writer.last_place = event.sequence, line.place
        writer.ended = event.verb == STOP
    if event.verb == GAP:
        writer.lost.append(f"{event.reason} ({line.place})")


def _hold(
    report: Report, anchor: Anchor, kept_from: Mapping[int, int], trusted: Collection[bytes]
) -> None:
    """What `events` says of a writer against what is there of it.

    (1) It must be signed, by a key that may, which is that of the records.
    (2) The record that it names is there, and is the same.
    (3) It is not there: it may have gone by its age, which the writer's later ones may not.
    """
    head, number = anchor.head, anchor.head.sequence
    name, writer = printable(head.writer), report.writers.get(head.writer)
    place = f"events, on record {number}"
    # (1)
    if not head.holds:
        _add(report, Fault.ANCHOR, place, name, "what `events` says of it is not as it was signed")
        return
    if trusted and head.public_key not in trusted:
        told = f"`events` has it signed with {head.public_key.hex()}, which is not trusted"
        _add(report, Fault.KEY, place, name, told)
        return
    if writer and writer.public_key != head.public_key:
        told = "its records are signed with another key than `events` was told of"
        _add(report, Fault.KEY, writer.first_place, name, told)
        return
    # (2)
    there = writer.digests.get(number) if writer else None
    if writer:
        writer.heads += 1
    if writer and there is not None:
        if there.hex() != head.digest:
            told = f"record {number} is another than `events` was told of"
            _add(report, Fault.REWRITTEN, writer.last_place, name, told)
        return
    # (3)
    by_age = 0 <= anchor.offset < kept_from.get(anchor.partition, 0)
    if writer is None and not by_age:
        told = f"none of its {counted(number + 1, 'record')} is there"
        _add(report, Fault.TRUNCATED, place, name, told)
    elif writer and number > writer.last:
        told = f"records {writer.last + 1} to {number} are gone from the end"
        _add(report, Fault.TRUNCATED, writer.last_place, name, told)
    elif writer and number < writer.first and not by_age:
        told = f"records {number} to {writer.first - 1} are gone, and not by their age"
        _add(report, Fault.TRUNCATED, writer.first_place, name, told)


def _add(report: Report, fault: Fault, place: str, writer: str | None, message: str) -> None:
    report.findings.append(Finding(fault, place, writer, message))
