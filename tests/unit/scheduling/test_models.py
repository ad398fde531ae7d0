"""Models: loaded when needed, failed with back-off, unloaded, removed, replaced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelmora.errors import NotFound
from modelmora.messages import Health
from modelmora.scheduling import KillReason, ModelKey, Need, Policy, State
from modelmora.text import duration
from tests.unit.scheduling.world import MIB, SIZE, A, B, World, spec


def state(world: World, key: ModelKey = A) -> State:
    """Where a model stands."""
    return next(one.health.state for one in world.scheduler.status(world.now) if one.key == key)


def test_the_states_of_a_model() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    assert state(world) is State.COLD
    world.send()
    assert state(world) is State.LOADING
    world.loaded()
    assert state(world) is State.READY
    assert world.scheduler.unload(A, world.now).state is State.DRAINING
    world.finish()
    assert state(world) is State.LEAVING
    assert world.child().killed is KillReason.UNLOAD
    world.exit()
    assert state(world) is State.COLD


def test_many_requests_for_a_cold_model_cost_one_load() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    for _ in range(10):
        world.send()
    assert world.loads == [A]


def test_a_failed_load_answers_what_waits_and_backs_off() -> None:
    world = World(Policy(backoff_s=1, backoff_max_s=60))
    world.scheduler.add_model(spec(), world.now)
    pauses = []
    for _ in range(8):
        first, second = world.send(), world.send()
        world.scheduler.on_load_failed(world.replica(), "no such file", world.now)
        assert world.child().killed is KillReason.LOAD_FAILED
        world.exit()
        assert world.outcome(first) == world.outcome(second) == "model_unavailable"
        assert state(world) is State.FAILED
        refused = world.send()
        pauses.append(world.error(refused).retry_after_ms)
        words = world.error(refused).message
        assert (
            words
            == f"a@1 could not be loaded: no such file; try again in {duration(pauses[-1] or 0)}"
        )
        assert world.outcome(refused) == "model_unavailable"
        world.wait((pauses[-1] or 0) / 1000 - 0.001)
        assert world.outcome(world.send()) == "model_unavailable", "not a moment before"
        world.wait(0.001)
        assert state(world) is State.FAILED, "until it could be loaded"
    assert pauses == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]


def test_requests_between_a_failed_load_and_the_exit_are_refused_too() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    world.send()
    world.scheduler.on_load_failed(world.replica(), "no such file", world.now)
    work = world.send()
    assert world.outcome(work) == "model_unavailable"


def test_a_load_that_takes_too_long_has_failed() -> None:
    world = World(Policy(load_s=600))
    world.scheduler.add_model(spec(), world.now)
    work = world.send()
    world.wait(599)
    assert world.child().killed is None
    world.wait(1)
    assert world.child().killed is KillReason.LOAD_TIMEOUT
    assert world.outcome(work) == "model_unavailable"
    world.exit()
    assert state(world) is State.FAILED


@pytest.mark.parametrize("asked_by", ["request", "operator"])
def test_a_load_is_tried_again_at_once_when_its_child_dies(asked_by: str) -> None:
    world = World(Policy(load_crashes=3))
    world.scheduler.add_model(spec(), world.now)
    if asked_by == "request":
        world.send()
    else:
        world.scheduler.load(A, world.now)
    for _ in range(2):
        world.exit()
        assert state(world) is State.LOADING
    world.exit()
    assert state(world) is State.FAILED
    assert [end for _, end in world.outcomes] == ["model_unavailable"] * len(world.sent)
    assert len(world.loads) == 3


def test_a_load_that_works_forgets_the_children_that_died() -> None:
    world = World(Policy(load_crashes=2))
    world.scheduler.add_model(spec(), world.now)
    world.send()
    world.exit()
    world.loaded()
    world.exit()
    world.exit()
    assert state(world) is State.LOADING


def test_a_load_that_works_ends_the_back_off() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    for _ in range(2):
        world.send()
        world.scheduler.on_load_failed(world.replica(), "out of memory", world.now)
        world.exit()
        world.wait(60)
    world.send()
    world.loaded()
    world.finish()
    world.exit()
    work = world.send()
    world.scheduler.on_load_failed(world.replica(), "out of memory", world.now)
    assert world.error(work).retry_after_ms == 1000


def test_an_operator_may_load_at_once_in_spite_of_the_back_off() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    world.send()
    world.scheduler.on_load_failed(world.replica(), "no such file", world.now)
    world.exit()
    assert state(world) is State.FAILED
    assert world.scheduler.load(A, world.now).state is State.LOADING
    world.loaded()
    work = world.send()
    world.finish()
    assert world.outcome(work) == "answered"


def test_load_and_unload_name_known_models_only() -> None:
    world = World()
    for verb in (world.scheduler.load, world.scheduler.unload):
        with pytest.raises(NotFound, match="modelmora list"):
            verb(A, world.now)


def test_loading_a_loaded_model_changes_nothing() -> None:
    world = World()
    world.serve(A)
    assert world.scheduler.load(A, world.now).state is State.READY
    assert world.loads == [A]


def test_unload_lets_started_work_finish_and_what_waits_is_served_after_a_new_load() -> None:
    world = World(Policy(group_requests=1))
    world.serve(A)
    works = [world.send() for _ in range(4)]
    world.scheduler.unload(A, world.now)
    world.finish()
    assert world.child().killed is None
    world.finish()
    assert world.child().killed is KillReason.UNLOAD
    assert len(world.ran) == 2
    world.exit()
    world.loaded()
    world.finish()
    world.finish()
    assert [world.outcome(work) for work in works] == ["answered"] * 4


def test_a_model_that_is_still_loading_can_be_unloaded() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    world.scheduler.load(A, world.now)
    assert world.scheduler.unload(A, world.now).state is State.LEAVING
    world.exit()
    assert state(world) is State.COLD
    assert world.loads == [A]


def test_a_removed_model_answers_what_waits_and_finishes_what_runs() -> None:
    world = World(Policy(group_requests=1))
    world.serve(A)
    works = [world.send() for _ in range(3)]
    world.scheduler.remove_model(A, world.now)
    late = world.send()
    world.finish()
    world.finish()
    assert world.child().killed is KillReason.REMOVED
    world.exit()
    ends = [world.outcome(work) for work in (*works, late)]
    assert ends == ["answered", "answered", "unknown_model", "unknown_model"]
    assert world.scheduler.status(world.now) == ()


def test_a_removed_model_whose_child_dies_answers_what_it_held() -> None:
    world = World()
    world.serve(A)
    work = world.send()
    world.scheduler.remove_model(A, world.now)
    world.exit()
    assert world.outcome(work) == "unknown_model"
    assert world.loads == [A]


def test_a_removed_model_may_return_before_its_child_has_left() -> None:
    world = World()
    world.serve(A)
    world.send()
    world.scheduler.remove_model(A, world.now)
    world.scheduler.add_model(spec(), world.now)
    work = world.send()
    world.finish()
    world.exit()
    world.loaded()
    world.finish()
    assert world.outcome(work) == "answered"


def test_a_changed_specification_replaces_the_child() -> None:
    world = World()
    world.serve(A)
    world.scheduler.add_model(spec(), world.now)
    assert world.child().killed is None
    world.scheduler.add_model(spec(size=SIZE + MIB), world.now)
    assert world.child().killed is KillReason.CHANGED
    work = world.send()
    world.exit()
    assert world.child().spec == spec(size=SIZE + MIB)
    world.loaded()
    world.finish()
    assert world.outcome(work) == "answered"


def test_a_changed_specification_is_not_judged_by_the_old_one() -> None:
    world = World(Policy(budget_bytes=2 * SIZE))
    world.serve(A)
    world.scheduler.on_memory(world.replica(), Need(3 * SIZE), world.now)
    world.scheduler.unload(A, world.now)
    world.exit()
    assert world.outcome(world.send()) == "cannot_be_served"
    world.scheduler.add_model(spec(size=SIZE + MIB), world.now)
    world.send()
    assert state(world) is State.LOADING


def test_status_tells_what_waits_what_runs_and_what_it_takes() -> None:
    world = World(Policy(group_requests=2))
    world.serve(A)
    for _ in range(5):
        world.send()
    world.scheduler.on_memory(world.replica(), Need(7 * MIB), world.now)
    (status,) = world.scheduler.status(world.now)
    assert (status.health.state, status.started, status.waiting) == (State.READY, 2, 3)
    assert status.bytes == 7 * MIB


def test_broken_files_fail_a_model_until_they_are_others() -> None:
    world = World()
    world.serve(A)
    world.scheduler.add_model(replace(spec(), files=1), world.now)
    assert world.child().killed is KillReason.CHANGED
    world.exit()
    world.scheduler.add_model(replace(spec(), files=2, fault="cut off"), world.now)
    (status,) = world.scheduler.status(world.now)
    assert status.health == Health(State.FAILED, "cut off")
    world.wait(10_000)
    refused = world.send()
    assert world.outcome(refused) == "cannot_be_served"
    assert "a@1 cannot be loaded: cut off" in world.error(refused).message
    assert world.error(refused).retry_after_ms is None
    assert world.scheduler.load(A, world.now).state is State.FAILED, "nor does an order help"
    world.scheduler.add_model(replace(spec(), files=3), world.now)
    assert state(world) is State.COLD
    work = world.send()
    world.loaded()
    world.finish()
    assert world.outcome(work) == "answered"


def test_what_a_child_finds_broken_is_not_tried_again_either() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    waiting = world.send()
    world.scheduler.on_load_failed(world.replica(), "no such file", world.now, broken=True)
    world.exit()
    assert world.outcome(waiting) == "cannot_be_served"
    world.wait(10_000)
    assert world.outcome(world.send()) == "cannot_be_served"
    assert world.loads == [A]
    world.scheduler.add_model(replace(spec(), files="other"), world.now)
    world.send()
    assert world.loads == [A, A]


@pytest.mark.parametrize("dies", [False, True])
def test_what_waits_for_a_model_that_breaks_is_answered(dies: bool) -> None:
    world = World(Policy(groups_per_replica=1, group_requests=1))
    world.serve(A)
    running, waiting = world.send(), world.send()
    world.scheduler.add_model(replace(spec(), files=1, fault="cut off"), world.now)
    assert world.outcome(waiting) == "cannot_be_served"
    if not dies:
        world.finish()
    world.exit()
    assert world.outcome(running) == ("cannot_be_served" if dies else "answered")
    assert state(world) is State.FAILED


def test_a_model_that_memory_can_never_hold_has_failed() -> None:
    world = World(Policy(budget_bytes=SIZE - MIB))
    world.scheduler.add_model(spec(), world.now)
    (status,) = world.scheduler.status(world.now)
    assert status.health.state is State.FAILED
    assert "more than this node may use" in (status.health.reason or "")


def test_everybody_is_told_that_memory_can_never_hold_a_model() -> None:
    world = World(Policy(budget_bytes=SIZE - MIB))
    world.scheduler.add_model(spec(), world.now)
    (status,) = world.scheduler.status(world.now)
    assert world.scheduler.load(A, world.now) == status.health
    assert world.scheduler.health(A, world.now) == status.health
    assert world.scheduler.unload(A, world.now) == status.health
    assert [health for _, _, health in world.turns] == [status.health]


def test_an_order_to_load_forgets_why_the_last_load_failed() -> None:
    world = World(Policy(budget_bytes=SIZE, backoff_s=60))
    world.scheduler.add_model(spec(), world.now)
    world.scheduler.load(A, world.now)
    world.scheduler.on_load_failed(world.replica(), "no such file", world.now)
    world.exit()
    world.serve(B)
    world.send(B)
    assert world.scheduler.load(A, world.now) == Health(State.COLD), "it waits for room"
    assert world.turns[-1][2] == Health(State.COLD)
    world.finish(B)
    world.exit(B)
    assert state(world) is State.LOADING
