"""What was heard of a job, in whatever order, and how it stands by that."""

from __future__ import annotations

from itertools import permutations

from modelmora.errors import Code
from modelmora.gateway.calls.jobs import HELD_MS, Card, JobState
from modelmora.messages import JobRecord, ProgressEvent, ProgressStage, Status

WRITTEN = JobRecord("id", "alice", "echo", 1)
DONE = JobRecord("id", "alice", "echo", 9, Status.COMPLETED, "2")
ACCEPTED = ProgressEvent("id", ProgressStage.ACCEPTED, "echo@2", 3, 40.0)
STEP = ProgressEvent("id", ProgressStage.CHUNK, "echo@2", step=1, steps=4)


def test_it_stands_as_was_told_last() -> None:
    card = Card()
    assert card.principal is None
    card.note(WRITTEN)
    assert card.principal == "alice"
    assert card.job().state is JobState.QUEUED
    card.hear(ACCEPTED, "alice", job=True)
    assert (card.job().position, card.job().estimate_ms) == (3, 40.0)
    card.hear(STEP, "alice", job=True)
    assert (card.job().state, card.job().step, card.job().steps) == (JobState.PROCESSING, 1, 4)


def test_an_end_is_one_in_any_order() -> None:
    for heard in permutations((WRITTEN, DONE, ACCEPTED, STEP)):
        card = Card()
        for each in heard:
            if isinstance(each, JobRecord):
                card.note(each)
            elif isinstance(each, ProgressEvent):
                card.hear(each, "alice", job=True)
        job = card.job()
        assert (job.state, job.version, job.submitted_at, job.ended_at) == ("completed", "2", 1, 9)
        assert (job.held_until, job.error) == (9 + HELD_MS, None)


def test_the_highest_run_holds_and_codes_of_later_nodes_are_told() -> None:
    card, told = Card(), list[ProgressEvent | None]()
    card.listeners.append(told.append)
    failed = JobRecord("id", "alice", "echo", 5, Status.FAILED, "1", "of_tomorrow", "why")
    card.note(failed)
    error = card.job().error
    assert error
    assert (error.code, error.message) == (Code.INFERENCE_FAILED, "of_tomorrow: why")
    cancelled = JobRecord("id", "alice", "echo", 7, Status.CANCELLED, "", "cancelled", "", 2)
    card.note(cancelled)
    card.note(DONE)
    assert card.job().state is JobState.CANCELLED
    assert told == [None, None]


def test_what_is_told_of_anothers_request_is_none_of_it() -> None:
    card = Card()
    card.hear(STEP, "bob", job=False)
    assert card.told_of == ("bob", False)
    noted = Card(WRITTEN)
    noted.hear(STEP, "bob", job=False)
    assert noted.told is None
