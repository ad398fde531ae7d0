"""Groups: lane, arrival, ageing, equal keys, limits, wait windows, threads."""

from __future__ import annotations

import pytest

from modelmora.messages import Lane
from modelmora.scheduling import Policy
from tests.unit.scheduling.world import A, B, C, World, ids, spec


def full(world: World) -> None:
    """Fill both places of A's child, so that what comes next has to wait."""
    world.send(name="x1")
    world.send(name="x2")


def test_a_request_for_a_loaded_model_starts_at_once() -> None:
    world = World()
    world.serve(A)
    work, position = world.submit()
    assert ids(world.child().groups[0].works) == [work.request_id]
    assert position is not None
    assert position.ahead == 0


def test_a_child_holds_two_groups_and_no_more() -> None:
    world = World()
    world.serve(A)
    for _ in range(5):
        world.send()
    assert len(world.child().groups) == 2
    world.finish()
    assert len(world.child().groups) == 2
    assert ids(world.child().groups[1].works) == ["r3", "r4", "r5"]


def test_the_next_group_is_prepared_shortly_before_the_end_of_a_long_one() -> None:
    world = World(Policy(prepare_ahead_s=0.05))
    world.serve(A)
    world.send()
    world.finish(run_ms=20)  # so an item takes 20 ms
    for number in range(10):
        world.send(name=f"low{number}", lane=Lane.LOW)
    assert [len(group.works) for group in world.child().groups] == [1, 1], "short ones at once"
    world.finish(run_ms=20)
    world.finish(run_ms=20)
    assert [len(group.works) for group in world.child().groups] == [8]
    world.send(name="late", lane=Lane.LOW)
    world.send(name="urgent", lane=Lane.CRITICAL)
    world.answer(indices=range(5))
    assert len(world.child().groups) == 1, "60 ms are left of it"
    world.answer(indices=[5])
    assert [ids(group.works) for group in world.child().groups[1:]] == [["urgent"]]


def test_lanes_come_before_arrival() -> None:
    world = World()
    world.serve(A)
    full(world)
    for lane in (Lane.LOW, Lane.NORMAL, Lane.CRITICAL, Lane.HIGH):
        world.send(lane=lane, name=lane.label)
    for _ in range(4):
        world.finish()
    assert [ids(group.works) for group in world.ran[2:]] == [
        ["critical"],
        ["high"],
        ["normal"],
        ["low"],
    ]


@pytest.mark.no_cover
def test_critical_waits_for_two_groups_whatever_waits_below() -> None:
    world = World()
    world.serve(A)
    for _ in range(50_000):
        world.send(lane=Lane.LOW)
    critical = world.send(lane=Lane.CRITICAL)
    world.finish()
    assert world.ran[2].works == (critical,)


def test_only_equal_keys_share_a_group_and_the_oldest_goes_first() -> None:
    world = World()
    world.serve(A)
    full(world)
    for name, key in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c"), ("b2", "b")):
        world.send(name=name, batch=key)
    for _ in range(3):
        world.finish()
    assert [ids(group.works) for group in world.ran[2:]] == [["a1", "a2"], ["b1", "b2"], ["c1"]]


def test_a_group_is_bounded_by_count_and_by_bytes() -> None:
    world = World(Policy(group_requests=3, group_bytes=100))
    world.serve(A)
    full(world)
    for size in (10, 10, 10, 60, 60, 500, 10):
        world.send(size=size)
    for _ in range(6):
        world.finish()
    sizes = [[work.size for work in group.works] for group in world.ran[2:]]
    assert sizes == [[10, 10, 10], [60], [60], [500], [10]]


def test_an_aged_head_costs_the_lanes_above_one_group_per_bound() -> None:
    world = World(Policy(group_requests=1, ageing_s=120))
    world.serve(A)
    full(world)
    for index in range(3):
        world.send(lane=Lane.LOW, name=f"low{index}")
    order = []
    for step in range(300):
        world.send(lane=Lane.CRITICAL, name=f"critical{step}")
        world.now += 1.0
        order.append(world.finish().works[0].request_id)
    starts = [step for step, name in enumerate(order) if name.startswith("low")]
    assert [order[step] for step in starts] == ["low0", "low1"]
    assert starts[1] - starts[0] >= 120


def test_a_group_that_is_not_full_waits_for_company_but_not_longer() -> None:
    world = World(Policy(group_wait_s=0.010, group_requests=3))
    world.serve(A)
    world.send()
    assert world.ran == []
    assert world.scheduler.next_wake(world.now) == world.now + 0.010
    world.wait(0.004)
    world.send()
    assert world.ran == []
    world.wait(0.006)
    assert ids(world.ran[0].works) == ["r1", "r2"]


def test_a_full_group_does_not_wait() -> None:
    world = World(Policy(group_wait_s=10, group_requests=2, group_bytes=1000))
    world.serve(A)
    world.send()
    world.send()
    assert ids(world.ran[0].works) == ["r1", "r2"]
    world.send(size=1000)
    assert ids(world.ran[1].works) == ["r3"]


def test_a_lower_lane_does_not_slip_past_one_that_waits_for_company() -> None:
    world = World(Policy(group_wait_s=1.0, group_requests=2))
    world.serve(A)
    world.send(lane=Lane.CRITICAL, name="critical")
    world.send(lane=Lane.LOW)
    world.send(lane=Lane.LOW)
    assert world.ran == []
    world.wait(1.0)
    assert [ids(group.works) for group in world.ran] == [["critical"], ["r2", "r3"]]


@pytest.mark.parametrize(("cores", "expected"), [(8, [8, 4]), (1, [1, 1]), (3, [3, 1])])
def test_cores_are_shared_among_the_children_that_compute(cores: int, expected: list[int]) -> None:
    world = World(Policy(cores=cores))
    world.serve(A, B)
    world.send(A)
    world.send(B)
    assert [group.threads for group in world.ran] == expected
    fell = [] if cores == 1 else [(A, expected[1])]
    assert world.shares == fell
    world.finish(A)
    assert world.shares == fell + ([] if cores == 1 else [(B, cores)])
    world.send(B)
    assert world.ran[-1].threads == cores


def test_a_stepped_child_hears_of_its_share_while_its_first_request_runs() -> None:
    world = World(Policy(cores=8))
    world.serve(A, slots=4)
    world.serve(B, C)
    world.send(A)
    assert (world.ran[-1].threads, world.shares) == (8, [])
    world.send(A)
    assert (world.ran[-1].threads, world.shares) == (8, [])
    world.send(B)
    world.send(C)
    assert world.shares == [(A, 4), (A, 2), (B, 2)]
    world.shares.clear()
    world.exit(B)
    world.finish(C)
    assert world.shares[-1] == (A, 8)


def test_a_model_that_needs_no_cores_gets_one_and_does_not_count() -> None:
    world = World(Policy(cores=8))
    world.scheduler.add_model(spec(B, needs_cores=False), world.now)
    world.serve(A)
    world.scheduler.load(B, world.now)
    world.loaded(B)
    world.send(B)
    world.send(A)
    assert [group.threads for group in world.ran] == [1, 8]


def test_models_do_not_wait_for_each_other() -> None:
    world = World()
    world.serve(A, B)
    for _ in range(1000):
        world.send(A)
    work = world.send(B, Lane.LOW)
    assert world.child(B).groups[0].works == (work,)


def test_an_aged_head_waits_for_company_no_longer() -> None:
    world = World(Policy(group_wait_s=100, ageing_s=10))
    world.serve(A)
    begin = world.now
    world.send()
    world.wait(10)
    assert len(world.ran) == 1
    assert world.now == begin + 10


def test_the_oldest_counts_also_after_an_older_one_has_left() -> None:
    world = World()
    world.serve(A)
    full(world)
    for name, key in (("a1", "a"), ("b1", "b"), ("a2", "a")):
        world.send(name=name, batch=key)
    world.scheduler.cancel("a1", world.now)
    world.finish()
    world.finish()
    assert [ids(group.works) for group in world.ran[2:]] == [["b1"], ["a2"]]


def test_a_group_that_was_put_back_does_not_wait_for_company_again() -> None:
    world = World(Policy(group_wait_s=10, group_requests=4))
    world.serve(A)
    for _ in range(4):
        world.send()
    world.exit()
    world.loaded()
    assert [ids(group.works) for group in world.ran[1:]] == [["r1", "r2"], ["r3", "r4"]]


def test_what_a_full_group_leaves_behind_is_not_full() -> None:
    world = World(Policy(group_wait_s=10, group_requests=2, group_bytes=100))
    world.scheduler.add_model(spec(), world.now)
    for size in (60, 60, 30):
        world.send(size=size)
    world.loaded()
    assert ids(world.ran[0].works) == ["r1"]
    assert ids(world.ran[1].works) == ["r2", "r3"]
    world.send(size=90)
    world.finish()
    assert len(world.ran) == 2
