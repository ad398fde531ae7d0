"""The intake's room: what each lane may hold of the node, and what leaves for the sake of what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.agents.partitions.costs import REQUEST_COST
from modelmora.agents.partitions.intake import Intake
from modelmora.agents.partitions.ledger import WINDOW, Commit, read_metadata
from modelmora.messages import Lane
from modelmora.testing.fakes import FakeRecord
from tests.unit.agents.intakes import LANES, A, B, intake, record


def test_a_slow_model_does_not_keep_a_higher_lane_from_being_read() -> None:
    """As seen: 300 waiting requests of 900 kB, and critical ones unanswered for 90 s."""
    partitions = [("normal", number) for number in range(12)]
    taken = intake(*partitions, ("critical", 0), ("high", 0))
    for number in range(300):
        _, partition = partitions[number % 12]
        if partitions[partition] not in taken.gated:
            assert taken.begin(record(number // 12, 1_800_000, partition))
    assert taken.gated == {*partitions}
    for offset in range(100):
        assert taken.begin(record(offset, 200_000, 0, "critical"))
    assert taken.gated == {*partitions}


def test_each_lane_has_its_share_and_opens_at_half_of_it() -> None:
    low, normal, high, critical = ((lane.label, 0) for lane in reversed(Lane))
    taken = intake(low, normal, high, critical, node_bytes=200_000)
    for lane in Lane:
        taken.begin(record(0, 4_000, 0, lane.label))
    gated = set[tuple[str, int]]()
    for offset, cost, full in (
        (1, 84_000, low),
        (2, 50_000, normal),
        (3, 30_000, high),
        (4, 20_000, critical),
    ):
        assert taken.gated == gated
        taken.begin(record(offset, cost, 0, "critical"))
        gated.add(full)
        assert taken.gated == gated
    for offset, cost, open_again in (
        (1, 84_000, set[tuple[str, int]]()),
        (4, 20_000, {critical}),
        (3, 30_000, {high, normal}),
        (2, 50_000, {low}),
    ):
        taken.done(record(offset, cost, 0, "critical"))
        gated -= open_again
        assert taken.gated == gated


def test_what_was_fetched_counts_for_the_lanes_and_not_for_its_partition() -> None:
    low, normal = ("low", 0), ("normal", 0)
    taken = intake(low, normal, node_bytes=2_000_000, partition_bytes=200_000)
    held = record(0, 3_600, 0, "low")
    taken.begin(held)
    room = taken.room(Lane.LOW)
    taken.weigh(held, room)
    assert (taken.gated, taken.room(Lane.LOW)) == (set(), 0)
    taken.begin(record(1, 3_600, 0, "low"))
    assert taken.gated == set(), "it may hold a little, as everybody may"
    taken.begin(record(0, 600_000))
    taken.weigh(record(0, 600_000), 1)
    assert taken.to_shed() == {low}, "what was fetched leaves for the sake of a higher lane"
    taken.shed([held])
    assert taken.open_bytes == 3_600 + 600_000 + 1
    assert taken.follows(low, 1, 0)
    assert taken.begin(held)
    taken.weigh(held, 5)
    taken.done(held)
    taken.weigh(held, 7)
    assert taken.open_bytes == 3_600 + 600_000 + 1, "what is answered weighs nothing"
    taken.revoke([low, normal])
    assert taken.open_bytes == 0


def test_a_partition_that_holds_nothing_is_read_however_full_the_node_is() -> None:
    """So nobody starves: a little of everything waits here and ages."""
    taken = intake(A, B, ("low", 0), node_bytes=2_000_000)
    taken.begin(record(0, 2_000_000))
    assert taken.gated == {A}
    for offset in range(2):
        assert B not in taken.gated
        taken.begin(record(offset, 4_000, 1))
    assert taken.gated == {A, B}
    taken.done(record(0, 4_000, 1))
    assert taken.gated == {A, B}
    taken.done(record(1, 4_000, 1))
    assert taken.gated == {A}
    taken.begin(record(0, 6_000, 0, "low"))
    assert taken.to_shed() == {A}, "what holds so little is left in peace"


KINDS = st.sampled_from(["read", "read", "done", "shed", "revoke", "assign"])
PLACES = st.sampled_from([(lane.label, number) for lane in Lane for number in range(2)])


@given(st.lists(st.tuples(KINDS, PLACES, st.integers(REQUEST_COST, 18_000)), max_size=100))
def test_counts_are_right_and_every_gate_opens_again(
    steps: list[tuple[str, tuple[str, int], int]],
) -> None:
    taken = intake(node_bytes=80_000, partition_bytes=24_000, partition_requests=5)
    epochs = {A: 1, B: 1}
    held: list[FakeRecord] = []
    for number, (kind, place, cost) in enumerate(steps, 2):
        ours = [one for one in held if (one.topic, one.partition) == place]
        if kind == "assign":
            epochs[place] = number
            taken.assign(place, number, 0)
        elif kind == "revoke":
            epochs.pop(place, None)
            taken.revoke([place])
        elif kind == "read" and place in epochs and place not in taken.gated:
            offset = taken.next_offset(place)
            assert offset is not None
            taken.rewind(place)
            assert taken.follows(place, epochs[place], offset)
            one = record(offset, cost, place[1], place[0], epochs[place])
            held += [one] if taken.begin(one) else []
        elif kind == "done" and ours:
            taken.done(ours[0])
        elif kind == "shed":
            victims = taken.to_shed()
            assert all(LANES[topic] > Lane.CRITICAL for topic, _ in victims)
            taken.shed(one for one in held if (one.topic, one.partition) in victims)
        held = [one for one in held if taken.owes(one)]
        assert taken.open_requests == len(held)
        assert taken.open_bytes == sum(REQUEST_COST + len(one.value or b"") for one in held)
        assert taken.gated <= {(one.topic, one.partition) for one in held}
        assert taken.partitions() == epochs.keys()
    for one in held:
        taken.done(one)
    assert (taken.gated, taken.open_bytes) == (set(), 0)


def test_the_lowest_lane_gives_first_and_what_holds_most() -> None:
    low = [("low", number) for number in range(3)]
    taken = intake(A, *low, ("critical", 0), node_bytes=200_000)
    for number, cost in enumerate((20_000, 60_000, 24_000)):
        taken.begin(record(0, cost, number, "low"))
    assert taken.to_shed() == set(), "low does not give for low"
    taken.begin(record(0, 46_000))
    assert taken.gated == {A, *low}
    assert taken.to_shed() == {("low", 1), ("low", 2)}, "normal opens at 37,500 of 75,000"
    taken.shed(record(0, partition=number, lane="low") for number in (1, 2))
    assert taken.gated == {low[0]}
    assert taken.to_shed() == set(), "low does not give for low"
    taken.begin(record(0, 134_000, 0, "critical"))
    assert taken.to_shed() == {("low", 0), A}
    assert taken.to_shed() == set(), "each is named once"
    assert taken.open_bytes == 200_000, "that of normal has been started"
    assert not taken.owes(record(0, partition=1, lane="low"))


def test_a_higher_lane_never_gives_for_a_lower_one() -> None:
    taken = intake(A, ("high", 0), ("critical", 0), node_bytes=40_000)
    taken.begin(record(0))
    taken.begin(record(0, 20_000, 0, "critical"))
    taken.begin(record(0, 6_000, 0, "high"))
    assert taken.gated == {A}
    assert taken.to_shed() == set()


def shed_and_full() -> Intake:
    """Of low's offsets 0 to 9 two and three are done, five is being run, the others were shed."""
    taken = intake(("low", 0), ("critical", 0), node_bytes=100_000)
    for offset in range(10):
        assert taken.begin(record(offset, 4_000, 0, "low"))
    for offset in (2, 3):
        taken.done(record(offset, 4_000, 0, "low"))
    taken.begin(record(0, 68_000, 0, "critical"))
    assert taken.to_shed() == {("low", 0)}
    taken.shed(record(offset, 4_000, 0, "low") for offset in (0, 1, 4, 6, 7, 8, 9))
    return taken


def test_what_was_shed_is_read_again_once_there_is_room() -> None:
    taken = shed_and_full()
    low = ("low", 0)
    assert taken.gated == {low, ("critical", 0)}
    commit = taken.commit_of(low, 0)
    assert commit is not None
    assert (commit.offset, read_metadata(*commit)[1]) == (0, (2, 3))
    assert not taken.follows(low, 1, 10), "a batch that was under way"
    assert not taken.begin(record(10, 4_000, 0, "low"))
    taken.done(record(0, 68_000, 0, "critical"))
    assert taken.gated == set()
    assert taken.rewind(low) == 0
    assert taken.rewind(low) is None
    assert taken.follows(low, 1, 0)
    again = {offset for offset in range(12) if taken.begin(record(offset, 4_000, 0, "low"))}
    assert again == {0, 1, 4, 6, 7, 8, 9, 10, 11}
    for offset in range(12):
        taken.done(record(offset, 4_000, 0, "low"))
    assert taken.commit_of(low, 0) == Commit(12, "mm2:0:")
    assert taken.open_bytes == 0


def test_what_is_being_read_again_may_be_lost_or_shed_again() -> None:
    taken = shed_and_full()
    low = ("low", 0)
    taken.done(record(0, 68_000, 0, "critical"))
    assert taken.rewind(low) == 0
    assert taken.follows(low, 1, 0)
    for offset in (0, 1):
        assert taken.begin(record(offset, 4_000, 0, "low"))
    assert not taken.follows(low, 1, 6), "the batch from 2 to 5 got lost"
    assert taken.next_offset(low) == 2
    taken.shed([record(1, 4_000, 0, "low")])
    assert taken.next_offset(low) == taken.rewind(low) == 1


def test_what_retention_took_meanwhile_is_waited_for_by_nobody() -> None:
    taken = shed_and_full()
    low = ("low", 0)
    taken.done(record(0, 68_000, 0, "critical"))
    assert taken.rewind(low) == 0
    assert taken.follows(low, 1, 0)
    assert taken.begin(record(8, 4_000, 0, "low"))
    commit = taken.commit_of(low, 0)
    assert commit is not None
    assert commit.offset == 5, "that one is still being run"


def test_a_hold_gates_everything_while_it_lasts() -> None:
    taken = intake(partition_requests=1)
    taken.begin(record(0))
    taken.hold = True
    assert taken.gated == {A, B}
    taken.assign(("high", 0), 1, 0)
    assert ("high", 0) in taken.gated
    taken.done(record(0))
    assert A in taken.gated
    taken.hold = False
    assert taken.gated == set()


@pytest.mark.parametrize("lane", list(Lane))
def test_losing_what_is_large_opens_the_gates(lane: Lane) -> None:
    big = (lane.label, 5)
    taken = intake(A, big, node_bytes=20_000)
    taken.begin(record(0))
    taken.begin(record(0, 20_000, 5, lane.label))
    assert taken.gated == {A, big}
    taken.revoke([big])
    assert taken.gated == set()


def test_a_hole_is_committed_over_before_anything_is_done() -> None:
    taken = intake()
    taken.begin(record(5))
    assert taken.to_commit(0) == {A: (5, "mm2:0:")}


def test_what_was_shed_below_what_did_not_fit_is_read_first() -> None:
    taken = intake()
    taken.begin(record(0))
    taken.begin(record(1))
    taken.begin(record(3 * WINDOW))
    assert taken.gated == {A}
    taken.shed([record(1)])
    assert taken.gated == set()
    assert taken.rewind(A) == 1
