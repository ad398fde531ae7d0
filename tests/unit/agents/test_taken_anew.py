"""Partitions whose log is another than it was: cut back, deleted from, or made anew."""

from __future__ import annotations

import asyncio

import pytest

from modelmora.agents.partitions.beginning import Oddity
from modelmora.agents.partitions.ledger import metadata_of, read_metadata
from tests.unit.agents.partition_desk import LANE, SINCE_MS, TOPIC, Desk, outcome, record


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def test_deleted_under_its_reader_a_partition_goes_on_and_says_what_is_missing(
    desk: Desk,
) -> None:
    await desk.own(LANE)
    desk.standing.ends[LANE] = (12, 40)
    desk.partitions.on_stuck(LANE, 1, 0, "out of range")
    await desk.read(2)
    assert desk.place() == (1, 12)
    assert desk.odd[0][2]["unread_offsets"] == 12


async def test_cut_back_under_its_reader_a_partition_is_taken_over_anew(desk: Desk) -> None:
    desk.standing.commits = {LANE: (20, f"mm2:{SINCE_MS}:")}
    await desk.own(LANE)
    desk.standing.ends[LANE] = (0, 10)
    desk.standing.written[LANE] = 4
    desk.partitions.on_stuck(LANE, 1, 20, "out of range")
    await desk.renewed()
    assert desk.place() == (2, 4)
    assert desk.forgotten == [{LANE}]
    assert desk.odd[0][0] is Oddity.LOG_CUT_BACK


async def test_made_anew_under_its_reader_a_partition_is_taken_over_anew(desk: Desk) -> None:
    desk.standing.commits = {LANE: (20, f"mm2:{SINCE_MS}:/log-1")}
    await desk.own(LANE)
    desk.partitions.on_logs({TOPIC: "log-1", "modelmora.requests.low": "log-3"})
    assert desk.forgotten == []
    desk.standing.log = "log-2"
    for _ in range(2):  # it is seen again and again
        desk.partitions.on_logs({TOPIC: "log-2"})
    await desk.renewed()
    assert desk.place() == (2, 0)
    assert desk.forgotten == [{LANE}]
    assert desk.odd[0][0] is Oddity.MADE_ANEW


async def test_what_was_handed_over_of_the_log_before_is_awaited_and_then_unknown(
    desk: Desk,
) -> None:
    """Its late acknowledgement would count for whatever lies at the same offset now."""
    await desk.own(LANE)
    before = record(0)
    assert desk.intake.begin(before)
    desk.writing.clear()
    desk.partitions.on_stuck(LANE, 1, 5000, "out of range")
    async with asyncio.timeout(10):
        while not desk.forgotten:  # noqa: ASYNC110 - a thread asks
            await asyncio.sleep(0.005)
    assert not desk.reader.renewed, "while something is being written"
    desk.writing.set()
    await desk.renewed()
    assert desk.intake.begin(record(0, epoch=2))
    desk.intake.done(before)
    assert desk.intake.owes(record(0, epoch=2))


async def test_what_lies_between_reader_and_loop_is_of_the_log_before(desk: Desk) -> None:
    """The loop had taken nothing yet, so its own place was still inside the log."""
    await desk.own(LANE)
    desk.standing.ends[LANE] = (0, 1)
    desk.partitions.on_stuck(LANE, 1, 2, "out of range")
    await desk.renewed()
    assert not desk.intake.follows(LANE, 1, 0)


async def test_what_was_finished_behind_the_end_ends_no_new_record(desk: Desk) -> None:
    """32 was open, 33 to 39 and 41 were done, and the broker has lost what came from 35 on."""
    desk.standing.commits = {LANE: (32, metadata_of(SINCE_MS, bytes([0xFE])))}
    desk.standing.outcomes = [outcome(41)]
    desk.standing.ends[LANE] = (0, 36)
    desk.standing.written[LANE] = 35
    await desk.own(LANE)
    assert desk.place() == (1, 32)
    begun = [offset for offset in range(32, 42) if desk.intake.begin(record(offset))]
    assert begun == [32, *range(35, 42)]
    assert desk.odd[0][0] is Oddity.LOG_CUT_BACK


async def test_outcomes_of_the_log_before_are_looked_up_by_no_later_owner(desk: Desk) -> None:
    desk.standing.commits = {LANE: (20, f"mm2:{SINCE_MS}:")}
    desk.standing.outcomes = [outcome(3)]
    desk.standing.ends[LANE] = (0, 10)
    desk.standing.written[LANE] = 2
    desk.now_ms = SINCE_MS  # less than the time by which a commit's own is early
    await desk.own(LANE)
    assert desk.intake.begin(record(2))
    offset, metadata = desk.reader.commits[-1][LANE]
    assert read_metadata(offset, metadata.partition("/")[0]).since_ms == SINCE_MS + 2


async def test_nothing_is_read_before_a_commit_that_says_when_it_was_made(desk: Desk) -> None:
    """Else whoever comes next could not know since when outcomes may have been written."""
    desk.standing.commits = {LANE: (4, "of a tool")}
    desk.partitions.on_assigned({LANE: 1})
    async with asyncio.timeout(10):
        while not desk.reader.commits:  # noqa: ASYNC110 - a thread asks
            await asyncio.sleep(0.005)
    assert desk.reader.places == []
    desk.partitions.on_committed(desk.reader.commits[0], 0.0, "the broker is away")
    assert desk.reader.places == []
    desk.partitions.on_committed(desk.reader.commits[0], 0.0, None)
    assert desk.reader.places == [{LANE: (1, 4)}]
