"""Copies, for which nobody waits: they run behind all else, and nobody loses a model by them."""

from __future__ import annotations

import pytest

from modelmora.messages import Lane, State
from modelmora.scheduling import Cause, KillReason, ModelKey, Policy, Work
from tests.unit.scheduling.world import SIZE, A, B, C, World, spec


def may(world: World, key: ModelKey = A) -> bool:
    return world.scheduler.behind.may_begin(key, world.now)


def copy(world: World, key: ModelKey = A) -> Work:
    work, _ = world.submit(key, Lane.LOW, batch="copy", behind=True)
    return work


def known(world: World, *keys: ModelKey) -> None:

    for key in keys:
        world.scheduler.add_model(spec(key), world.now)


def test_a_copy_begins_where_a_child_has_nothing_to_do() -> None:
    world = World()
    world.serve(A)
    assert may(world)
    work = copy(world)
    assert work.group is not None
    world.finish()
    assert world.outcome(work) == "answered"


def test_nothing_begins_beside_a_group_of_its_model() -> None:
    world = World()
    world.serve(A)
    world.send()
    assert not may(world)
    world.finish()
    assert may(world)


def test_nothing_begins_while_another_model_has_work_that_waits() -> None:
    world = World(Policy(groups_per_replica=1))
    world.serve(A, B)
    world.send(B)
    assert may(world)  # it runs, and none waits
    world.send(B)
    assert not may(world)
    world.finish(B)
    assert may(world)


def test_a_stepped_model_takes_a_copy_where_a_slot_is_free() -> None:
    world = World()
    world.serve(A, slots=2)
    world.send()
    assert may(world)
    copy(world)
    assert not may(world)


def test_a_cold_model_is_loaded_where_there_is_room() -> None:
    world = World()
    known(world, A)
    assert not may(world)
    assert world.loads == [A]
    assert world.child().place.cause is Cause.SHADOW
    assert not may(world)
    assert world.loads == [A]
    world.loaded()
    assert may(world)


def test_nobody_leaves_for_it() -> None:
    world = World(Policy(budget_bytes=SIZE + SIZE // 2))
    world.serve(A)
    known(world, B)
    world.wait(500)
    assert not may(world, B)
    assert world.loads == [A]


def test_it_takes_no_room_that_another_waits_for() -> None:
    world = World(Policy(budget_bytes=2 * SIZE + SIZE // 2))
    world.serve(A)
    known(world, B)

    world.scheduler.add_model(spec(C, 2 * SIZE), world.now)
    world.send(A)
    world.scheduler.load(C, world.now)  # waits for A's room, though nothing waits for C
    assert C not in world.loads
    assert not may(world, B)
    assert B not in world.loads


@pytest.mark.parametrize("ready", [True, False])
def test_what_is_there_for_copies_leaves_first(ready: bool) -> None:
    world = World(Policy(budget_bytes=2 * SIZE + SIZE // 2))
    world.serve(A)
    known(world, B, C)
    may(world, B)
    if ready:
        world.loaded(B, load_ms=60_000.0)  # dear, and the last that was used
        world.wait(1)
        copy(world, B)
        world.finish(B)
    world.send(C)
    assert world.child(B).killed is KillReason.ROOM
    assert world.child(A).killed is None


def test_one_that_runs_a_copy_finishes_it_and_leaves() -> None:
    world = World(Policy(budget_bytes=SIZE + SIZE // 2))
    known(world, A, B)
    may(world)
    world.loaded()
    work = copy(world)
    world.send(B)
    assert world.child().killed is None
    world.finish()
    assert world.outcome(work) == "answered"
    assert world.child().killed is KillReason.ROOM


def test_a_request_makes_it_a_model_like_others() -> None:
    world = World(Policy(budget_bytes=SIZE + SIZE // 2, min_residency_s=100))
    known(world, A, B)
    may(world)
    world.loaded()
    world.send()
    world.finish()
    world.send(B)
    assert world.child().killed is None  # fresh


def test_an_order_makes_it_a_model_like_others() -> None:
    world = World(Policy(budget_bytes=SIZE + SIZE // 2, min_residency_s=100))
    known(world, A, B)
    may(world)
    world.loaded()
    world.scheduler.load(A, world.now)
    world.send(B)
    assert world.child().killed is None


def test_a_copy_says_nothing_of_how_long_its_model_stays() -> None:
    world = World(Policy(keep_alive_s=50))
    world.serve(A)
    world.send(keep_alive=200)
    world.finish()
    copy(world)
    world.finish()
    world.wait(150)
    assert world.child().killed is None
    world.wait(60)
    assert world.child().killed is KillReason.IDLE


def test_a_copy_whose_child_dies_is_not_tried_again() -> None:
    world = World(Policy(solo_crashes=3))
    world.serve(A)
    work = copy(world)
    world.exit()
    assert world.outcome(work) == "worker_crash"
    assert world.loads == [A]  # nobody waits for it any more


def test_beside_a_copy_the_others_of_a_stepped_child_are_tried_again() -> None:
    world = World(Policy(solo_crashes=3))
    world.serve(A, slots=4)
    first, second, work = world.send(), world.send(), copy(world)
    world.exit()
    assert world.outcome(work) == "worker_crash"
    assert world.loads == [A, A]
    world.loaded()
    world.finish()
    world.finish()
    assert [world.outcome(each) for each in (first, second)] == ["answered"] * 2


def test_one_that_cannot_be_loaded_is_told_so_and_tried_again_after_the_pause() -> None:
    world = World(Policy(load_crashes=1))
    known(world, A)
    may(world)
    world.exit()
    assert may(world)
    assert world.outcome(copy(world)) == "model_unavailable"
    world.wait(2)
    assert not may(world)
    assert world.loads == [A, A]
    world.loaded()
    assert world.scheduler.health(A, world.now).state is State.READY


def test_one_that_is_not_here_is_told_so() -> None:
    assert may(World())
