"""Several children of one model: who gets the work, when there is one more or less, what ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelmora.messages import Health
from modelmora.scheduling import Cause, KillReason, Need, Policy, State
from modelmora.scheduling.scaling import Pressure, rescale
from tests.unit.scheduling.world import MIB, SIZE, A, B, World, ids, spec

ROOMY = Policy(budget_bytes=10 * SIZE, group_requests=1, cores=4)


def elastic(world: World, least: int = 1, most: int = 3) -> None:
    """A model that may have several children."""
    one = replace(spec(A), min_replicas=least, max_replicas=most)
    world.scheduler.add_model(one, world.now)


def up(world: World, number: int = 2) -> None:
    """A model with that many ready children and nothing to do."""
    elastic(world, number, number)
    world.scheduler.load(A, world.now)
    for replica in range(1, number + 1):
        world.scheduler.on_loaded(replica, 200.0, Need(0), world.now)
    assert len(world.children) == number


def calm(
    ready: int = 1,
    coming: int = 0,
    computing: int = 1,
    wait_s: float = 0.0,
    spare_s: float = 0.0,
    load_s: float = 0.0,
) -> Pressure:
    return Pressure(ready, coming, computing, wait_s, spare_s, load_s)


@pytest.mark.parametrize(
    ("pressure", "why"),
    [
        (calm(ready=0), None),
        (calm(), None),
        (calm(wait_s=4.9), None),
        (calm(wait_s=5.0), Cause.QUEUE),
        (calm(wait_s=5.0, load_s=6.0), None),
        (calm(wait_s=6.0, load_s=6.0), Cause.QUEUE),
        (calm(wait_s=99, computing=0), None),
        (calm(wait_s=99, coming=1), None),
        (calm(wait_s=99, ready=3, computing=3), None),
        (calm(ready=2, computing=1, spare_s=59.9), None),
        (calm(ready=2, computing=1, spare_s=60.0), KillReason.SPARE),
        (calm(ready=1, computing=0, spare_s=999.0), None),
    ],
)
def test_one_more_or_one_less(pressure: Pressure, why: Cause | KillReason | None) -> None:
    one = replace(spec(A), max_replicas=3)
    assert rescale(pressure, one, Policy()) is why


def test_a_model_has_its_least_number_of_replicas_as_soon_as_it_is_loaded() -> None:
    world = World(ROOMY)
    elastic(world, least=2)
    assert world.loads == []
    world.send(A)
    assert world.loads == [A, A]
    assert [child.place.cause for child in world.children.values()] == [
        Cause.REQUESTS,
        Cause.MINIMUM,
    ]


def test_the_child_with_least_to_do_gets_the_next_group() -> None:
    world = World(ROOMY)
    up(world)
    for _ in range(4):
        world.send(A)
    first, second = world.children.values()
    assert [ids(group.works) for group in first.groups] == [["r1"], ["r3"]]
    assert [ids(group.works) for group in second.groups] == [["r2"], ["r4"]]


def test_a_queue_that_nobody_has_measured_gets_one_more_replica_after_a_while() -> None:
    world = World(ROOMY)
    elastic(world)
    for _ in range(9):
        world.send(A)
    world.loaded(A)
    world.wait(4.9)
    assert world.loads == [A]
    world.wait(0.2)
    assert world.loads == [A, A]
    assert world.child(A).place.cause is Cause.QUEUE
    world.wait(20)
    assert world.loads == [A, A], "one is on its way"


def test_a_queue_gets_replicas_until_it_is_short_enough() -> None:
    world = World(ROOMY)
    elastic(world, most=5)
    for _ in range(10):
        world.send(A)
    world.loaded(A)
    world.finish(A, run_ms=2000.0)
    assert world.loads == [A, A], "8 wait, 16 s for one"
    world.loaded(A)
    assert world.loads == [A, A, A], "7 wait, 7 s for two"
    world.loaded(A)
    assert world.loads == [A, A, A], "6 wait, 4 s for three"


def test_a_replica_with_nothing_to_do_leaves_and_the_last_one_stays() -> None:
    world = World(ROOMY)
    elastic(world)
    for _ in range(5):
        world.send(A)
    world.loaded(A)
    world.finish(A, run_ms=3000.0)
    world.loaded(A)
    world.drain()
    world.wait(59)
    assert [child.killed for child in world.children.values()] == [None, None]
    world.wait(2)
    assert [child.killed for child in world.children.values()] == [None, KillReason.SPARE]
    world.exit(A)
    world.wait(1000)
    assert [child.killed for child in world.children.values()] == [None]


def test_for_one_more_replica_an_idle_model_leaves_but_no_busy_one() -> None:
    world = World(Policy(budget_bytes=2 * SIZE + MIB, group_requests=1, ageing_s=1000))
    elastic(world)
    world.send(A)
    world.loaded(A)
    world.serve(B)
    for _ in range(9):
        world.send(A)
    world.send(B)
    world.wait(10)
    assert world.child(B).killed is None
    world.finish(B)
    assert world.child(B).killed is KillReason.ROOM
    world.exit(B)
    assert world.loads == [A, B, A]


def test_what_a_dead_replica_held_goes_to_the_other() -> None:
    world = World(ROOMY)
    up(world)
    works = [world.send(A) for _ in range(2)]
    world.exit(A)
    left, coming = world.children.values()
    assert coming.place.cause is Cause.MINIMUM
    assert [ids(group.works) for group in left.groups] == [["r1"], ["r2"]]
    world.drain()
    assert [world.outcome(work) for work in works] == ["answered", "answered"]


def test_a_replica_that_cannot_be_loaded_does_not_stop_the_one_that_serves() -> None:
    world = World(ROOMY)
    elastic(world)
    works = [world.send(A) for _ in range(4)]
    world.loaded(A)
    world.wait(6)
    world.scheduler.on_load_failed(world.replica(A), "no memory", world.now)
    world.exit(A)
    works.append(world.send(A))
    (status,) = world.scheduler.status(world.now)
    assert status.health == Health(State.READY)
    assert world.loads == [A, A], "it is tried again only after the back-off"
    world.drain()
    assert {world.outcome(work) for work in works} == {"answered"}


def test_with_broken_files_a_loaded_replica_goes_on_until_it_leaves() -> None:
    world = World(ROOMY)
    elastic(world)
    works = [world.send(A) for _ in range(4)]
    world.loaded(A)
    world.wait(6)
    world.scheduler.on_load_failed(world.replica(A), "drift", world.now, broken=True)
    world.exit(A)
    world.drain()
    assert {world.outcome(work) for work in works} == {"answered"}
    world.scheduler.unload(A, world.now)
    world.exit(A)
    assert world.outcome(world.send(A)) == "cannot_be_served"


def test_an_unload_and_a_change_let_all_replicas_leave() -> None:
    for reason in (KillReason.UNLOAD, KillReason.CHANGED):
        world = World(ROOMY)
        up(world)
        world.send(A)
        if reason is KillReason.UNLOAD:
            world.scheduler.unload(A, world.now)
        else:
            elastic(world, 1, 2)
        first, second = world.children.values()
        assert (first.killed, second.killed) == (None, reason)
        world.finish_first(first)
        assert first.killed is reason


def test_a_cancel_and_a_drop_reach_the_replica_that_has_the_work() -> None:
    world = World(ROOMY)
    up(world)
    works = [world.send(A, partition=number) for number in range(2)]
    second = list(world.children.values())[1]
    world.scheduler.cancel("r2", world.now)
    assert world.cancels == [(second.groups[0].id, 0)]
    assert world.outcome(works[1]) == "cancelled"
    world.scheduler.drop({0}, world.now)
    assert len(world.cancels) == 2
    assert world.scheduler.open_groups({0, 1}) == frozenset()
