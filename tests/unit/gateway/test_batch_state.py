"""What was told of files and batches, in whatever order it lies there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelmora.gateway.batches.state import KEPT_MS, Batch, Ledger, Standing, told
from modelmora.messages import BatchKind, BatchRecord, ObjectRef

REF = ObjectRef("s3://b/1", "0" * 64, 3, "application/jsonl", 1)
PARTS = {"outputs": [REF], "errors": []}


def record(kind: BatchKind, gateway: str = "", term: int = 0, **details: Any) -> BatchRecord:
    return BatchRecord("batch_1", "alice", kind, 7, gateway, term, told(**details))


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    details: dict[str, Any] = {
        "file_id": "file-1",
        "endpoint": "/v1/x",
        "metadata": None,
        "input": REF,
    }
    made.take(record(BatchKind.BATCH, **details))
    made.take(record(BatchKind.CLAIMED, "g1", 1))
    made.take(record(BatchKind.BEGUN, "g1", 1, total=9))
    return made


def now(ledger: Ledger) -> Batch:
    return ledger.batches["batch_1"]


def part(gateway: str, term: int, reached: int) -> BatchRecord:
    counts = {"completed": reached, "failed": 0}
    return record(BatchKind.PART, gateway, term, next=reached, **counts, **PARTS)


def test_the_first_claim_of_a_term_holds(ledger: Ledger) -> None:
    ledger.take(record(BatchKind.CLAIMED, "g2", 2))
    ledger.take(record(BatchKind.CLAIMED, "g3", 2))
    assert (now(ledger).driver, now(ledger).term) == ("g2", 2)
    for late in (
        part("g1", 1, 5),
        part("g3", 2, 5),
        record(BatchKind.ENDED, "g1", 1, end="failed"),
    ):
        ledger.take(late)
    assert (now(ledger).next, now(ledger).end) == (0, None)


def test_who_goes_on_counts_from_the_last_part(ledger: Ledger) -> None:
    ledger.take(part("g1", 1, 4))
    ledger.take(record(BatchKind.BEAT, "g1", 1, completed=6, failed=1))
    assert (now(ledger).completed, now(ledger).failed) == (6, 1)
    ledger.take(record(BatchKind.CLAIMED, "g2", 2))
    assert (now(ledger).completed, now(ledger).failed, now(ledger).next) == (4, 0, 4)


def test_what_is_told_twice_counts_once(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.take(part("g1", 1, 4))
    ledger.take(record(BatchKind.BEGUN, "g1", 1, total=1))
    assert (now(ledger).outputs, now(ledger).total) == ((REF,), 9)


def test_nothing_is_told_of_what_has_ended(ledger: Ledger) -> None:
    ledger.take(record(BatchKind.ENDED, "g1", 1, end="completed"))
    ledger.take(record(BatchKind.CANCEL))
    ledger.take(record(BatchKind.CLAIMED, "g2", 2))
    assert (now(ledger).standing, now(ledger).driver) == (Standing.COMPLETED, "g1")


def test_what_is_given_back_is_free(ledger: Ledger) -> None:
    ledger.take(record(BatchKind.RELEASED, "g1", 1))
    assert now(ledger).driver == ""
    ledger.take(part("g1", 1, 4))
    assert now(ledger).next == 0


def test_what_is_kept_no_longer_is_forgotten(ledger: Ledger) -> None:
    ledger.take(part("g1", 1, 4))
    ledger.take(record(BatchKind.ENDED, "g1", 1, end="completed"))
    (made,) = now(ledger).files()
    assert ledger.used() == {REF.uri}
    ledger.take(BatchRecord(made.id, "alice", BatchKind.DELETED, 8))
    assert ledger.file(made.id, "alice") is None
    assert ledger.used() == set()
    ledger.forget(7 + KEPT_MS)
    assert (ledger.batches, ledger.deleted) == ({}, set())


@pytest.mark.parametrize("kind", BatchKind)
@pytest.mark.parametrize("details", ["[]", "1", "null", '"total"', "", "{"])
def test_details_that_are_none_change_nothing(
    ledger: Ledger, kind: BatchKind, details: str
) -> None:
    before = now(ledger)
    odd = replace(record(kind, before.driver, before.term), details=details)
    with pytest.raises((ValueError, TypeError)):
        ledger.take(odd)
    assert now(ledger) == before
