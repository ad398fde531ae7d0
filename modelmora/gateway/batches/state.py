"""Files and batches as all that was told of them makes them; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson

from modelmora.kafka.topics import DAY, TABLE, Topic
from modelmora.messages import BatchKind, BatchRecord, ObjectRef

KEPT_MS = TABLE[Topic.BATCHES].retention_ms or DAY
"""How long files and batches are there, from when they are made."""
WINDOW_MS = DAY
"""How long a batch may take: `completion_window`."""
INPUT, OUTPUT = "batch", "batch_output"


class Standing(StrEnum):
    """How far a batch has come; the last four are terminal."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an input is no batch; `line` counts from 1, None for all of it."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A file: its bytes are those of its parts, one behind the other. Times are Unix ms."""

    id: str
    principal: str
    name: str
    purpose: str
    created_at: int
    expires_at: int
    parts: tuple[ObjectRef, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch: each line of its input is a request to `endpoint`. Times are Unix ms.

    Lines up to `next` are in `outputs` or `errors`, parts of two files, which nothing changes any
    more. The ids of the requests behind it are made of `ids_at`.
    """

    id: str
    principal: str
    file_id: str
    endpoint: str
    metadata: Mapping[str, str] | None
    input: ObjectRef
    created_at: int
    expires_at: int
    driver: str = ""
    term: int = 0
    total: int | None = None
    begun_at: int | None = None
    ids_at: int = 0
    next: int = 0
    completed: int = 0
    failed: int = 0
    kept: tuple[int, int] = (0, 0)
    """What of them is in parts; the rest is counted again by who goes on."""
    outputs: tuple[ObjectRef, ...] = ()
    errors: tuple[ObjectRef, ...] = ()
    cancelled_at: int | None = None
    end: Standing | None = None
    ended_at: int | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def standing(self) -> Standing:
        """How far it has come."""
        if self.end:
            return self.end
        if self.cancelled_at is not None:
            return Standing.CANCELLING
        return Standing.VALIDATING if self.total is None else Standing.IN_PROGRESS

    def files(self) -> tuple[File, ...]:
        """The files that it has made, once it has ended."""
        if self.end is None:
            return ()
        made = (("output", self.outputs), ("errors", self.errors))
        return tuple(
            File(
                f"file-{self.id.removeprefix('batch_')}-{name}",
                self.principal,
                f"{self.id}_{name}.jsonl",
                OUTPUT,
                self.ended_at or self.created_at,
                self.created_at + KEPT_MS,
                parts,
            )
            for name, parts in made
            if parts
        )


@dataclass(slots=True)
class Ledger:
    """All files and batches, by what was told in the order of the log: all gateways see the same.

    What a gateway tells of a batch counts while it works on it: from its claim, the first of a
    term, until the claim of another.
    """

    files: dict[str, File] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    def take(self, record: BatchRecord) -> None:
        """Take what is told. Raises ValueError, KeyError, TypeError where it cannot be read."""
        told = orjson.loads(record.details)
        if not isinstance(told, dict):
            raise TypeError("the details are no object")
        if record.kind is BatchKind.FILE:
            self.files.setdefault(record.id, _file(record, told))
        elif record.kind is BatchKind.BATCH:
            self.batches.setdefault(record.id, _batch(record, told))
        elif record.kind is BatchKind.DELETED:
            self.deleted.add(record.id)
            self.files.pop(record.id, None)
        elif batch := self.batches.get(record.id):
            self.batches[record.id] = told_of(batch, record, told)

    def file(self, file_id: str, principal: str) -> File | None:
        """The file of that id, if it is this principal's."""
        return next((each for each in self.files_of(principal) if each.id == file_id), None)

    def files_of(self, principal: str) -> list[File]:
        """Those of a principal, made by batches or not, the oldest first."""
        made = [each for batch in self.batches_of(principal) for each in batch.files()]
        given = [each for each in self.files.values() if each.principal == principal]
        kept = [each for each in (*given, *made) if each.id not in self.deleted]
        return sorted(kept, key=lambda each: (each.created_at, each.id))

    def batches_of(self, principal: str) -> list[Batch]:
        """Those of a principal, the oldest first."""
        found = [each for each in self.batches.values() if each.principal == principal]
        return sorted(found, key=lambda each: (each.created_at, each.id))

    def used(self) -> set[str]:
        """The uris of all objects that a file holds, or that a batch still needs."""
        held: list[Iterable[ObjectRef]] = [each.parts for each in self.files.values()]
        for batch in self.batches.values():
            held += [each.parts for each in batch.files() if each.id not in self.deleted]
            held += [] if batch.end else [[batch.input], batch.outputs, batch.errors]
        return {ref.uri for refs in held for ref in refs}

    def forget(self, now_ms: int) -> None:
        """Let go of what is kept no longer."""
        self.files = {name: each for name, each in self.files.items() if each.expires_at > now_ms}
        self.batches = {
            name: each for name, each in self.batches.items() if each.created_at + KEPT_MS > now_ms
        }
        made = {each.id for batch in self.batches.values() for each in batch.files()}
        self.deleted &= made


def told_of(batch: Batch, record: BatchRecord, told: Mapping[str, Any]) -> Batch:
    """The batch by what is told of it now; the same where that does not count, or is told again."""
    kind, time = record.kind, record.time
    if batch.end:
        return batch
    if kind is BatchKind.CANCEL:
        return batch if batch.cancelled_at is not None else replace(batch, cancelled_at=time)
    if kind is BatchKind.CLAIMED:
        if record.term != batch.term + 1:
            return batch
        completed, failed = batch.kept
        return replace(
            batch,
            driver=record.gateway,
            term=record.term,
            completed=completed,
            failed=failed,
        )
    if (record.gateway, record.term) != (batch.driver, batch.term):
        return batch
    match kind:
        case BatchKind.BEGUN if batch.total is None:
            return replace(batch, total=told["total"], begun_at=time, ids_at=time)
        case BatchKind.BEAT:
            return replace(batch, completed=told["completed"], failed=told["failed"])
        case BatchKind.PART if told["next"] > batch.next:
            return replace(
                batch,
                ids_at=time,
                next=told["next"],
                completed=told["completed"],
                failed=told["failed"],
                kept=(told["completed"], told["failed"]),
                outputs=(*batch.outputs, *map(_ref, told["outputs"])),
                errors=(*batch.errors, *map(_ref, told["errors"])),
            )
        case BatchKind.RELEASED:
            return replace(batch, driver="")
        case BatchKind.ENDED:
            faults = tuple(Fault(**each) for each in told.get("faults", ()))
            return replace(batch, end=Standing(told["end"]), ended_at=time, faults=faults)
    return batch


def _file(record: BatchRecord, told: Mapping[str, Any]) -> File:
    return File(
        record.id,
        record.principal,
        told["name"],
        told["purpose"],
        record.time,
        told["expires_at"],
        tuple(map(_ref, told["parts"])),
    )


def _batch(record: BatchRecord, told: Mapping[str, Any]) -> Batch:
    return Batch(
        record.id,
        record.principal,
        told["file_id"],
        told["endpoint"],
        told["metadata"],
        _ref(told["input"]),
        record.time,
        record.time + WINDOW_MS,
    )


def _ref(told: Mapping[str, Any]) -> ObjectRef:
    return ObjectRef(**told)


def told(**details: Any) -> str:
    """The details of a record; objects by their references."""
    return orjson.dumps(details, default=asdict).decode()
