"""What was heard of a job, in whatever order, and how it stands by that."""

from __future__ import annotations

from itertools import count, permutations
from unittest.mock import AsyncMock, Mock

import pytest

from modelmora.errors import Code
from modelmora.gateway.calls import desk
from modelmora.gateway.calls.desk import Desk
from modelmora.gateway.calls.jobs import HELD_MS, Card, JobState
from modelmora.kafka.requests import nothing
from modelmora.kafka.writing.publisher import Record
from modelmora.messages import InferenceRequest, JobRecord, ProgressEvent, ProgressStage, Status
from modelmora.wire import encode_request

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


async def test_it_was_submitted_before_its_request_was_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have ended by the time at which the broker says that it has it."""
    clock, taken_at = count(1), list[int]()
    monkeypatch.setattr(desk, "_now_ms", lambda: next(clock))

    async def write(_record: Record) -> None:
        taken_at.append(next(clock))

    replies, writer = Mock(mint=AsyncMock(return_value=("id", 0))), Mock(write=write)
    value = encode_request(InferenceRequest("id", "echo", ("x",)))
    opened = Desk("jobs", replies, writer, AsyncMock(), Mock())
    job = await opened.submit(
        None, "alice", "echo", lambda _: Record("requests", b"", value, nothing)
    )
    assert job.submitted_at < taken_at[0]


async def test_it_may_have_ended_before_it_is_written_down() -> None:
    """Its result is read while the broker still says that it has the request."""
    value = encode_request(InferenceRequest("id", "echo", ("x",)))

    async def write(_record: Record) -> None:
        card = opened.get(b"id")
        assert card
        card.meet(JobRecord("id", "mallory", "echo", 8, Status.COMPLETED, "9"))
        card.meet(DONE)

    opened = Desk(
        "jobs", Mock(mint=AsyncMock(return_value=("id", 0))), Mock(write=write), AsyncMock(), Mock()
    )
    job = await opened.submit(
        None, "alice", "echo", lambda _: Record("requests", b"", value, nothing)
    )
    assert (job.state, job.version) == (JobState.COMPLETED, "2")


def test_an_end_that_is_told_is_of_nobody_who_has_not_asked() -> None:
    card = Card()
    card.meet(DONE)
    assert card.principal is None
    card.note(WRITTEN)
    card.meet(DONE)
    assert card.job().state is JobState.COMPLETED


def test_the_end_of_anothers_request_by_its_id_is_none_of_a_job() -> None:
    """Whoever writes to the topics may ask by any id, and call that a job."""
    theirs = JobRecord("id", "topic:alice", "echo", 5, Status.FAILED, "1", "worker_crash", "lies")
    higher = JobRecord("id", "topic:alice", "echo", 5, Status.COMPLETED, "9", run=7)
    for heard in permutations((WRITTEN, DONE, theirs, higher)):
        card = Card()
        for each in (*heard, *heard):  # a job without an end is looked for again
            card.note(each)
        assert card.principal == "alice"
        assert (card.job().state, card.job().version) == (JobState.COMPLETED, "2")
