"""Stepped models: single requests side by side, joined by urgency, suspects run apart."""

from __future__ import annotations

from math import ceil, log2

import pytest

from modelmora.messages import Lane
from modelmora.scheduling import KillReason, Policy, Work
from tests.unit.scheduling.world import A, Answer, World, ids, spec


def stepped(slots: int = 4, policy: Policy | None = None) -> World:
    world = World(policy or Policy())
    world.serve(A, slots=slots)
    return world


def running(world: World) -> list[str]:
    return [group.works[0].request_id for group in world.child().groups]


def end(world: World, name: str) -> None:
    """The child answers this one, wherever it stands."""
    child, replica = world.child(), world.replica()
    (group,) = (each for each in child.groups if ids(each.works) == [name])
    child.groups.remove(group)
    world.scheduler.on_results(replica, group.id, [Answer(0)], world.now)
    world.scheduler.on_group_done(replica, group.id, 50.0, world.now)


def test_a_child_takes_as_many_as_it_has_slots_one_each() -> None:
    world = stepped(slots=3)
    for _ in range(5):
        world.send()
    assert running(world) == ["r1", "r2", "r3"]
    end(world, "r2")
    assert running(world) == ["r1", "r3", "r4"]


def test_a_measured_child_is_not_made_to_wait_for_its_end() -> None:
    world = stepped(policy=Policy(group_wait_s=5))
    world.send()
    end(world, "r1")
    world.send()
    world.send()
    assert running(world) == ["r2", "r3"], "neither for company nor for the first to be done"


def test_the_most_urgent_joins_first() -> None:
    world = stepped(slots=1)
    world.send(lane=Lane.LOW)
    world.send(lane=Lane.LOW)
    world.send(lane=Lane.CRITICAL)
    end(world, "r1")
    assert running(world) == ["r3"]


def test_a_cancel_is_sent_for_the_one_that_it_means() -> None:
    world = stepped(slots=2)
    for _ in range(3):
        world.send()
    world.scheduler.cancel("r2", world.now)
    assert world.cancels == [(world.child().groups[1].id, 0)]
    end(world, "r2")
    assert world.outcomes == [("r2", "cancelled")]
    assert running(world) == ["r1", "r3"]


def test_a_sign_of_life_keeps_a_child_and_only_chunks_are_told() -> None:
    world = stepped(policy=Policy(start_to_close_s=10))
    world.send()
    group = world.child().groups[0]
    for tells in (True, False):
        world.wait(9)
        world.scheduler.on_chunk(world.replica(), group.id, Answer(0, tells), world.now)
        world.scheduler.on_chunk(world.replica(), group.id + 1, Answer(0), world.now)
    assert world.child().killed is None
    assert world.heard == ["r1"]
    world.wait(10)
    assert world.child().killed is KillReason.RUN_TIMEOUT


def test_a_child_that_runs_for_nobody_is_killed_only_when_all_are_gone() -> None:
    world = stepped(slots=2, policy=Policy(start_to_close_s=300, cancel_grace_s=5))
    world.send()
    world.send()
    world.scheduler.cancel("r1", world.now)
    world.wait(6)
    assert world.child().killed is None
    world.scheduler.cancel("r2", world.now)
    world.wait(6)
    assert world.child().killed is KillReason.NOBODY_WAITS


def test_a_child_that_lets_go_of_nothing_gets_nothing_more() -> None:
    world = stepped(slots=4, policy=Policy(start_to_close_s=300, cancel_grace_s=5))
    world.send()
    world.scheduler.cancel("r1", world.now)
    later = world.send()
    world.wait(6)
    assert world.child().killed is KillReason.NOBODY_WAITS
    world.exit()
    world.loaded()
    assert running(world) == ["r2"]
    assert later.attempt == 1


def test_the_wait_that_is_told_counts_the_slots() -> None:
    world = stepped(slots=4)
    world.send()
    end(world, "r1")
    for _ in range(4):
        world.send()
        world.begin()
    told = [position for _, position in (world.submit() for _ in range(6))]
    assert [position and position.ahead for position in told] == [4, 5, 6, 7, 8, 9]
    assert [position and position.wait_s for position in told] == pytest.approx(
        [0.05] * 4 + [0.1] * 2
    )


def live_on(world: World, poison: set[str]) -> None:
    """Children live until everything has ended; one dies with whoever is poisoned in it."""
    while len(world.outcomes) < len(world.sent):
        child = world.child()
        if child.killed or poison & set(running(world)):
            world.exit()
        elif child.groups:
            end(world, running(world)[0])
        else:
            world.loaded()


@pytest.mark.parametrize("position", range(16))
def test_one_poison_among_16_costs_at_most_six_children(position: int) -> None:
    world = World()
    world.scheduler.add_model(spec(slots=16), world.now)
    works = [world.send(lane=Lane(number % 4)) for number in range(16)]
    poison = works[position]
    live_on(world, {poison.request_id})
    assert world.outcome(poison) == "worker_crash"
    assert all(world.outcome(work) == "answered" for work in works if work is not poison)
    assert world.crashes <= 1 + ceil(log2(16)) + 1


def test_suspects_run_apart_from_newcomers_until_they_are_done() -> None:
    world = stepped(slots=4)
    sent: list[Work] = [world.send() for _ in range(4)]
    world.exit()
    world.loaded()
    sent += [world.send() for _ in range(2)]
    assert running(world) == ["r1", "r2"]
    end(world, "r1")
    assert running(world) == ["r2"]
    end(world, "r2")
    assert running(world) == ["r3", "r4"]
    end(world, "r3")
    end(world, "r4")
    assert running(world) == ["r5", "r6"]
    assert [work.attempt for work in sent] == [2, 2, 2, 2, 1, 1]


@pytest.mark.row("F25")
def test_signs_of_life_are_no_reason_to_keep_a_child_that_runs_for_nobody() -> None:
    world = stepped(policy=Policy(cancel_grace_s=10))
    world.send()
    (group,) = world.child().groups
    world.scheduler.cancel("r1", world.now)
    for _ in range(10):
        assert world.child().killed is None
        world.wait(1)
        world.scheduler.on_chunk(world.replica(), group.id, Answer(0), world.now)
    assert world.child().killed is KillReason.NOBODY_WAITS
