"""Children that die: the poison is found, its neighbours are answered."""

from __future__ import annotations

from math import ceil, log2

import pytest

from modelmora.messages import Lane
from modelmora.scheduling import Cancelled, KillReason, Policy, Work
from modelmora.scheduling.retry import examine
from tests.unit.scheduling.world import A, World, ids, spec


def burst(world: World, count: int) -> list[Work]:
    """Submit works that form one group when the child is loaded."""
    world.scheduler.add_model(spec(), world.now)
    return [world.send() for _ in range(count)]


def live_on(world: World, poison: set[str]) -> None:
    """Let children live until everything has ended; they die of a poisoned group."""
    while len(world.outcomes) < len(world.sent):
        child = world.child()
        if child.killed or (child.groups and poison & set(ids(child.groups[0].works))):
            world.exit()
        elif child.groups:
            world.finish()
        else:
            world.loaded()


@pytest.mark.row("F4")
@pytest.mark.parametrize("position", range(32))
def test_one_poison_among_32_costs_at_most_seven_children(position: int) -> None:
    world = World()
    works = burst(world, 32)
    poison = works[position]
    live_on(world, {poison.request_id})
    assert world.outcome(poison) == "worker_crash"
    assert all(world.outcome(work) == "answered" for work in works if work is not poison)
    assert world.crashes <= 1 + ceil(log2(32)) + 1
    assert poison.attempt == world.crashes


def test_three_poisons_are_found_and_the_rest_is_answered() -> None:
    world = World()
    works = burst(world, 20)
    poison = {works[0].request_id, works[7].request_id, works[19].request_id}
    live_on(world, poison)
    for work in works:
        assert world.outcome(work) == ("worker_crash" if work.request_id in poison else "answered")


def test_a_crash_splits_the_first_group_and_puts_the_second_back_untouched() -> None:
    world = World(Policy(group_requests=4))
    burst(world, 9)
    world.loaded()
    world.exit()
    world.loaded()
    for _ in range(4):
        world.finish()
    order = [ids(group.works) for group in world.ran[2:]]
    assert order == [["r1", "r2"], ["r3", "r4"], ["r5", "r6", "r7", "r8"], ["r9"]]
    assert [group.works[0].attempt for group in world.ran[2:]] == [2, 2, 1, 1]


def test_what_was_answered_before_the_crash_is_not_run_again() -> None:
    world = World()
    works = burst(world, 4)
    world.loaded()
    world.answer(indices=[0, 2])
    world.exit()
    world.loaded()
    assert [ids(group.works) for group in world.ran[1:]] == [["r2"], ["r4"]]
    assert [work.attempt for work in works] == [1, 2, 1, 2]


def test_a_higher_lane_still_goes_before_what_was_put_back() -> None:
    world = World()
    burst(world, 2)
    world.loaded()
    world.exit()
    critical = world.send(lane=Lane.CRITICAL)
    world.loaded()
    assert world.child().groups[0].works == (critical,)


def test_a_request_that_kills_its_child_alone_twice_has_failed() -> None:
    world = World()
    (work,) = burst(world, 1)
    world.loaded()
    world.exit()
    assert world.outcome(work) is None
    world.loaded()
    world.exit()
    assert world.outcome(work) == "worker_crash"
    assert len(world.loads) == 2


@pytest.mark.row("F2")
def test_a_child_that_hangs_is_killed_and_its_request_tried_once_more() -> None:
    world = World(Policy(start_to_close_s=300))
    (work,) = burst(world, 1)
    for _ in range(2):
        world.loaded()
        world.wait(299)
        assert world.child().killed is None
        world.wait(1)
        assert world.child().killed is KillReason.RUN_TIMEOUT
        world.exit()
    assert world.outcome(work) == "worker_timeout"


def test_every_answer_gives_the_child_more_time() -> None:
    world = World(Policy(start_to_close_s=300))
    burst(world, 3)
    world.loaded()
    for index in range(3):
        world.wait(299)
        world.answer(indices=[index])
    assert world.child().killed is None


def test_lies_give_the_child_no_time() -> None:
    world = World(Policy(start_to_close_s=300))
    burst(world, 2)
    world.loaded()
    world.wait(200)
    world.answer(indices=[0])
    world.wait(200)
    world.answer(indices=[0, 7, -1])
    world.wait(100)
    assert world.child().killed is KillReason.RUN_TIMEOUT
    assert [end for _, end in world.outcomes] == ["answered"]


def test_an_answer_that_comes_while_the_child_is_being_killed_counts() -> None:
    world = World()
    (work,) = burst(world, 1)
    world.loaded()
    world.wait(300)
    world.answer()
    world.exit()
    assert world.outcome(work) == "answered"
    assert len(world.loads) == 1


def test_what_dies_behind_cancelled_work_is_not_suspected() -> None:
    world = World(Policy(group_requests=1, cancel_grace_s=10, start_to_close_s=300))
    first, second = burst(world, 2)
    world.loaded()
    world.scheduler.cancel(first.request_id, world.now)
    world.wait(10)
    assert world.child().killed is KillReason.NOBODY_WAITS
    world.exit()
    world.loaded()
    world.finish()
    assert (world.outcome(first), world.outcome(second)) == ("cancelled", "answered")
    assert (second.attempt, second.solo_crashes) == (1, 0)


def test_an_innocent_is_not_handed_back_for_ever() -> None:
    world = World(Policy(returns=3, group_requests=1))
    world.scheduler.add_model(spec(), world.now)
    innocent = world.send(lane=Lane.LOW)
    for _ in range(4):
        world.send(lane=Lane.CRITICAL)
        world.loaded()
        world.exit()
        world.loaded()
        if world.outcome(innocent):
            break
        world.exit()
    assert world.outcome(innocent) == "retries_spent"


def test_a_group_reported_done_without_all_answers_fails_the_rest() -> None:
    world = World()
    first, second = burst(world, 2)
    world.loaded()
    world.answer(indices=[1])
    world.done()
    assert (world.outcome(first), world.outcome(second)) == ("inference_failed", "answered")


def test_nothing_is_to_blame_where_nothing_was_left() -> None:
    assert examine([], Policy()) == examine([()], Policy())
    assert examine([], Policy()).suspects == ()


def test_a_crash_with_nothing_started_is_followed_by_a_load_only_if_something_waits() -> None:
    world = World()
    world.serve(A)
    world.exit()
    assert len(world.loads) == 1
    world.send()
    assert len(world.loads) == 2


def test_what_was_put_back_waits_again() -> None:
    world = World()
    (work,) = burst(world, 1)
    world.loaded()
    world.exit()
    assert world.scheduler.cancel(work.request_id, world.now) is Cancelled.WAITING
    world.loaded()
    assert len(world.ran) == 1


def test_the_time_of_a_group_counts_from_the_end_of_the_one_before() -> None:
    world = World(Policy(group_requests=1, start_to_close_s=300))
    burst(world, 2)
    world.loaded()
    world.wait(100)
    world.answer()
    world.wait(5)
    world.done()
    world.wait(299)
    assert world.child().killed is None
    world.wait(1)
    assert world.child().killed is KillReason.RUN_TIMEOUT


def test_the_time_of_a_group_does_not_count_while_its_child_was_idle() -> None:
    world = World(Policy(start_to_close_s=300))
    world.serve(A)
    world.wait(1000)
    world.send()
    world.wait(299)
    assert world.child().killed is None


def test_a_child_has_a_moment_to_stop_what_was_cancelled() -> None:
    world = World(Policy(start_to_close_s=300, cancel_grace_s=10))
    (work,) = burst(world, 1)
    world.loaded()
    world.wait(100)
    world.scheduler.cancel(work.request_id, world.now)
    world.wait(9)
    assert world.child().killed is None
    world.wait(1)
    assert world.child().killed is KillReason.NOBODY_WAITS
