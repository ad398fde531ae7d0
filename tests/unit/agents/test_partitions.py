"""Taking partitions over and giving them back, with a broker that says what the test says."""

from __future__ import annotations

import asyncio

import pytest

from modelmora.agents.partitions.beginning import Oddity
from modelmora.agents.partitions.ledger import metadata_of, read_metadata
from modelmora.agents.partitions.takeover import SLACK_MS
from modelmora.kafka.batches import Partition
from tests.unit.agents.partition_desk import (
    LANE,
    OTHER,
    SINCE_MS,
    Desk,
    outcome,
    record,
)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def test_reading_begins_where_the_group_has_committed(desk: Desk) -> None:
    desk.standing.commits = {LANE: (7, "")}
    desk.standing.ends[OTHER] = (3, 9)
    await desk.own(LANE, OTHER)
    assert desk.place() == (1, 7)
    assert desk.place(OTHER) == (1, 3)
    assert not desk.standing.asked_since


async def test_outcomes_written_since_the_commit_are_given_no_second_time(desk: Desk) -> None:
    """The last owner answered 7 and 9 behind its commit, and was killed before the next one."""
    desk.standing.commits = {LANE: (7, f"mm2:{SINCE_MS}:")}
    desk.standing.outcomes = [outcome(7), b"not ours", outcome(9), outcome(8, OTHER)]
    await desk.own(LANE)
    assert desk.standing.asked_since == [SINCE_MS]
    assert [desk.intake.begin(record(offset)) for offset in (7, 8, 9, 10)] == [
        False,
        True,
        False,
        True,
    ]


async def test_what_the_bitmap_says_is_done_too(desk: Desk) -> None:
    desk.standing.commits = {LANE: (8, metadata_of(SINCE_MS, bytes([0b110])))}
    await desk.own(LANE)
    assert [desk.intake.begin(record(offset)) for offset in (8, 9, 10, 11)] == [
        True,
        False,
        False,
        True,
    ]


async def test_a_commit_beyond_the_end_swallows_nothing_and_is_told(desk: Desk) -> None:
    """The log was cut back to 30 and written on to 40: what came since the commit is read."""
    desk.standing.commits = {LANE: (50, f"mm2:{SINCE_MS}:")}
    desk.standing.ends[LANE] = (0, 40)
    desk.standing.written[LANE] = 30
    desk.standing.outcomes = [outcome(33)]  # of a record that the broker has lost
    await desk.own(LANE)
    assert desk.place() == (1, 30)
    assert all(desk.intake.begin(record(offset)) for offset in range(30, 40))
    ((what, where, facts),) = desk.odd
    assert (what, where) == (Oddity.LOG_CUT_BACK, LANE)
    assert (facts["position_offset"], facts["end_offset"], facts["begin_offset"]) == (50, 40, 30)


async def test_a_commit_for_a_former_topic_of_that_name_is_none(desk: Desk) -> None:
    desk.standing.commits = {LANE: (5, f"mm2:{SINCE_MS}:/log-0"), OTHER: (5, "mm2:1:/log-1")}
    desk.standing.outcomes = [outcome(1), outcome(6), outcome(6, OTHER)]
    await desk.own(LANE, OTHER)
    assert (desk.place(), desk.place(OTHER)) == ((1, 0), (1, 5))
    assert all(desk.intake.begin(record(offset)) for offset in range(8))
    assert [(what, where) for what, where, _ in desk.odd] == [(Oddity.MADE_ANEW, LANE)]


async def test_what_retention_took_unread_is_counted(desk: Desk) -> None:
    desk.standing.commits = {LANE: (5, "")}
    desk.standing.ends[LANE] = (25, 40)
    await desk.own(LANE)
    assert desk.place() == (1, 25)
    assert desk.odd[0][0] is Oddity.DELETED_UNREAD
    assert desk.odd[0][2]["unread_offsets"] == 20


async def test_a_broker_that_does_not_answer_is_asked_again(desk: Desk) -> None:
    desk.standing.commits = {LANE: (7, "")}
    desk.standing.failures = 2
    await desk.own(LANE)
    assert desk.place() == (1, 7)
    assert desk.standing.renewed == 1, "with what it knows of the brokers thrown away"


async def test_what_was_lost_while_it_was_taken_over_is_not_read(desk: Desk) -> None:
    desk.standing.failures = 1
    desk.partitions.on_assigned({LANE: 1, OTHER: 2})
    desk.partitions.on_lost({LANE})
    await desk.read(1)
    assert desk.reader.places == [{OTHER: (2, 0)}]
    assert desk.intake.partitions() == {OTHER}


async def test_what_is_given_back_is_forgotten_and_committed(desk: Desk) -> None:
    await desk.own(LANE)
    for offset in range(3):
        assert desk.intake.begin(record(offset))
    desk.intake.done(record(0))
    desk.writing.clear()
    going = asyncio.create_task(desk.partitions.on_revoked({LANE}))
    await asyncio.sleep(0)
    assert desk.forgotten == [{LANE}]
    assert not desk.intake.owes(record(1)), "nothing more is written for it"
    desk.intake.done(record(2))  # what was on its way is acknowledged in time
    desk.writing.set()
    offset, metadata = (await going)[LANE]
    assert offset == 1
    ours, _, log = metadata.partition("/")
    assert log == "log-1"
    assert read_metadata(offset, ours)[:2] == (1_000_000 - SLACK_MS, (2,))
    assert desk.intake.partitions() == set()


async def test_what_is_lost_leaves_neither_work_nor_lease(desk: Desk) -> None:
    await desk.own(LANE)
    desk.partitions.on_committed({}, asyncio.get_running_loop().time() + 1e6, None)
    assert desk.lease.holds()
    desk.partitions.on_lost({LANE})
    assert not desk.lease.holds()
    assert desk.forgotten == [{LANE}]
    assert desk.intake.partitions() == set()


async def test_a_lease_is_asked_for_at_once_and_renewed_though_nothing_was_done(
    desk: Desk,
) -> None:
    await desk.own(LANE)
    assert list(desk.reader.commits[0]) == [LANE]
    desk.reader.committing = False
    desk.partitions.on_committed(desk.reader.commits[0], 0.0, None)
    desk.partitions.commit()
    assert list(desk.reader.commits[1]) == [LANE]


async def test_no_second_commit_is_asked_for_while_one_is_under_way(desk: Desk) -> None:
    await desk.own(LANE)
    desk.partitions.commit()
    assert len(desk.reader.commits) == 1


async def test_a_failed_commit_is_no_lease_and_is_tried_again(desk: Desk) -> None:
    await desk.own(LANE)
    assert desk.intake.begin(record(0))
    desk.intake.done(record(0))
    desk.reader.committing = False
    desk.partitions.on_committed(desk.reader.commits[0], 1e9, "the broker is away")
    assert not desk.lease.holds()
    desk.partitions.commit()
    assert desk.reader.commits[-1][LANE][0] == 1


async def test_no_commit_grows_old_while_others_change(desk: Desk) -> None:
    """A new owner reads all outcomes since the oldest commit of what it takes over."""
    await desk.own(LANE, OTHER)
    renewed: set[Partition] = set()
    for offset in range(2):
        desk.reader.committing = False
        desk.partitions.on_committed(desk.reader.commits[-1], 0.0, None)
        assert desk.intake.begin(record(offset))
        desk.intake.done(record(offset))
        desk.partitions.commit()
        renewed |= desk.reader.commits[-1].keys()
    assert renewed == {LANE, OTHER}


# Exactly once -------------------------------------------------------------------------------------


@pytest.mark.parametrize("exactly_once", [True, False])
async def test_a_commit_of_a_transaction_needs_no_look_back(exactly_once: bool) -> None:
    desk = Desk(exactly_once=exactly_once)
    desk.standing.commits = {LANE: (7, f"mm2:{SINCE_MS}::g.n1"), OTHER: (0, "mm2:60000:")}
    desk.standing.outcomes = [outcome(7), outcome(1, OTHER)]
    await desk.own(LANE, OTHER)
    assert desk.standing.asked_since == [60_000]
    assert desk.intake.begin(record(7))


async def test_in_exactly_once_the_publisher_alone_commits() -> None:
    desk = Desk(exactly_once=True)
    await desk.own(LANE)
    assert desk.due == 1, "what was taken over is committed under our own id"
    for offset in range(3):
        desk.intake.begin(record(offset))
    desk.intake.done(record(0))
    desk.partitions.commit()
    assert desk.due == 2
    assert await desk.partitions.on_revoked({LANE}) == {}
    desk.partitions.commit()
    assert (desk.due, desk.reader.commits) == (2, [])
    assert not desk.intake.owes(record(1))


async def test_what_is_suspected_is_left_only_once_a_transaction_has_said_so() -> None:
    """One that was under way before says that its owner may have died."""
    desk = Desk(exactly_once=True)
    desk.standing.commits = {LANE: (0, "mm2:5:")}
    await desk.own(LANE)
    ledger = desk.intake.ledger(LANE)
    assert ledger
    assert ledger.suspects
    before = ledger.commit(SINCE_MS, "g.n1")
    going = asyncio.create_task(desk.partitions.on_revoked({LANE}))
    await asyncio.sleep(0)
    desk.partitions.on_told({LANE: before})
    for _ in range(5):
        await asyncio.sleep(0)
    assert not going.done()
    assert desk.intake.ledger(LANE), "what is to be told is still known"
    desk.partitions.on_told({LANE: ledger.commit(SINCE_MS, "g.n1")})
    assert await going == {}
    assert not desk.intake.partitions()
