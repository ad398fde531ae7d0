"""A model's life: kept, pinned, loaded ahead, quarantined; each turn of it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelmora.errors import ModelMoraError
from modelmora.scheduling import KillReason, ModelKey, ModelSpec, Policy, State
from modelmora.scheduling.placement import Cause
from tests.unit.scheduling.test_models import state
from tests.unit.scheduling.world import SIZE, A, B, C, World, spec

KEPT = Policy(keep_alive_s=60)


def told(world: World, key: ModelKey = A) -> list[str]:
    """Where the model stood, in turn, as far as the world was told."""
    return [health.state.value for model, _, health in world.turns if model == key]


def crash(world: World, times: int, key: ModelKey = A) -> None:
    """The model's child dies at work, so often, each time after it was loaded again."""
    for _ in range(times):
        if state(world, key) is State.LOADING:
            world.loaded(key)
        world.exit(key)


def test_a_model_leaves_when_it_had_nothing_to_do_for_so_long() -> None:
    world = World(KEPT)
    world.scheduler.add_model(spec(), world.now)
    world.send()
    world.loaded()
    world.wait(100)
    assert world.child().killed is None, "it works"
    world.finish()
    world.wait(59)
    assert world.scheduler.status(world.now)[0].leaves_s == pytest.approx(1)
    assert world.child().killed is None
    world.wait(1)
    assert world.child().killed is KillReason.IDLE
    world.exit()
    assert told(world) == ["loading", "ready", "leaving", "cold"]
    assert world.scheduler.next_wake(world.now) is None


@pytest.mark.parametrize(("own", "request_s", "leaves"), [
    (None, None, 60.0),
    (5.0, None, 5.0),
    (5.0, 0.0, 0.0),
    (0.0, 7.0, 7.0),
    (5.0, -1.0, None),
    (-1.0, None, None),
])  # fmt: skip
def test_the_request_goes_before_the_definition_and_that_before_the_setting(
    own: float | None, request_s: float | None, leaves: float | None
) -> None:
    world = World(KEPT)
    world.scheduler.add_model(replace(spec(), keep_alive_s=own), world.now)
    world.send(keep_alive=request_s)
    world.loaded()
    world.finish()
    assert world.scheduler.status(world.now)[0].leaves_s == leaves
    world.wait(1000)
    assert (world.child().killed is KillReason.IDLE) is (leaves is not None)


def test_the_latest_request_says_how_long() -> None:
    world = World(KEPT)
    world.serve(A)
    world.send(keep_alive=0)
    world.send()
    world.finish()
    world.finish()
    assert world.scheduler.status(world.now)[0].leaves_s == 60


def test_what_was_loaded_by_order_stays_until_it_was_used() -> None:
    world = World(Policy(keep_alive_s=0))
    world.serve(A)
    world.wait(1000)
    assert state(world) is State.READY
    world.send()
    world.finish()
    world.wait(0)
    assert state(world) is State.LEAVING


def test_what_is_loaded_before_anybody_asks_is_no_order_to_stay() -> None:
    world = World(KEPT)
    world.scheduler.add_model(spec(), world.now)
    world.scheduler.load(A, world.now, ahead=True)
    assert world.child().place.cause is Cause.AHEAD
    world.loaded()
    world.wait(59)
    assert state(world) is State.READY
    world.wait(1)
    assert world.child().killed is KillReason.IDLE


def test_nothing_makes_room_for_what_nobody_asks_for() -> None:
    world = World(Policy(budget_bytes=round(2.5 * SIZE)))
    world.serve(A)
    world.wait(1000)
    for key, size in ((B, 2 * SIZE), (C, SIZE)):
        world.scheduler.add_model(spec(key, size), world.now)
        world.scheduler.load(key, world.now, ahead=True)
    assert world.loads == [A, C]
    assert world.child(A).killed is None


def test_nothing_is_loaded_ahead_while_another_waits_for_room() -> None:
    world = World(Policy(budget_bytes=round(2.5 * SIZE)))
    world.serve(A)
    world.send(A)
    for key, size in ((B, 2 * SIZE), (C, SIZE)):
        world.scheduler.add_model(spec(key, size), world.now)
    world.send(B)
    world.scheduler.load(C, world.now, ahead=True)
    assert world.loads == [A]


def test_one_that_memory_can_never_hold_keeps_no_other_from_being_loaded_ahead() -> None:
    world = World(Policy(budget_bytes=2 * SIZE))
    world.scheduler.add_model(replace(spec(A, 3 * SIZE), pinned=True), world.now)
    world.scheduler.add_model(spec(B), world.now)
    world.scheduler.load(B, world.now, ahead=True)
    assert world.loads == [B]


@pytest.mark.parametrize("one", [spec(), replace(spec(), keep_alive_s=0.0)])
def test_what_failed_or_would_leave_at_once_is_not_loaded_ahead(one: ModelSpec) -> None:
    world = World()
    world.scheduler.add_model(one, world.now)
    if one.keep_alive_s is None:
        world.scheduler.load(A, world.now)
        world.scheduler.on_load_failed(world.replica(), "no memory", world.now)
        world.exit()
    before = [*world.loads]
    world.scheduler.load(A, world.now, ahead=True)
    assert world.loads == before


def test_a_cancelled_request_leaves_no_model_behind() -> None:
    world = World(Policy(keep_alive_s=0))
    world.scheduler.add_model(spec(), world.now)
    world.scheduler.cancel(world.send().request_id, world.now)
    world.loaded()
    world.wait(0)
    assert state(world) is State.LEAVING


def test_a_pinned_model_is_loaded_stays_and_comes_back() -> None:
    world = World(Policy(keep_alive_s=0, budget_bytes=SIZE))
    world.scheduler.add_model(replace(spec(), pinned=True), world.now)
    world.loaded()
    world.send()
    world.finish()
    world.wait(1000)
    assert state(world) is State.READY
    with pytest.raises(ModelMoraError, match="`modelmora unpin`"):
        world.scheduler.unload(A, world.now)
    world.exit()
    assert state(world) is State.LOADING
    world.loaded()
    world.scheduler.add_model(spec(B), world.now)
    world.wait(1)
    world.pin(A, pinned=False)
    world.send(B)
    assert state(world) is State.LEAVING


@pytest.mark.parametrize("one", [replace(spec(), preload=True), replace(spec(), pinned=True)])
def test_what_is_loaded_ahead_is_tried_again_until_it_is_there(one: ModelSpec) -> None:
    world = World(Policy(backoff_s=1))
    world.scheduler.add_model(one, world.now)
    for pause in (1, 2, 4):
        world.scheduler.on_load_failed(world.replica(), "no memory", world.now)
        world.exit()
        assert state(world) is State.FAILED
        world.wait(pause)
        assert state(world) is State.LOADING
    world.loaded()
    world.scheduler.add_model(one, world.now)
    assert len(world.loads) == 4


def test_a_model_that_cannot_load_is_not_tried_again_once_it_is_unpinned() -> None:
    world = World(Policy(backoff_s=1))
    world.pin()
    world.scheduler.on_load_failed(world.replica(), "no memory", world.now)
    world.exit()
    world.pin(pinned=False)
    world.wait(1000)
    assert len(world.loads) == 1


def test_nothing_is_loaded_any_more_once_the_node_stops() -> None:
    world = World()
    world.pin()
    world.loaded()
    world.scheduler.close()
    world.exit()
    world.scheduler.load(A, world.now)
    assert len(world.loads) == 1


def test_a_model_that_is_preloaded_may_be_unloaded() -> None:
    world = World()
    world.scheduler.add_model(replace(spec(), preload=True), world.now)
    world.scheduler.unload(A, world.now)
    world.exit()
    world.wait(1000)
    assert state(world) is State.COLD
    assert world.loads == [A]


def test_a_load_that_hangs_holds_up_no_other_and_can_be_cancelled() -> None:
    world = World()
    for key in (A, B):
        world.scheduler.add_model(spec(key), world.now)
    hangs, runs = world.send(A), world.send(B)
    world.loaded(B)
    world.finish(B)
    assert world.outcome(runs) == "answered"
    world.scheduler.unload(A, world.now)
    assert world.outcome(hangs) == "model_unavailable"
    assert world.error(hangs).message == "its load was cancelled"
    world.exit(A)
    assert state(world) is State.COLD
    assert world.loads == [A, B]


def test_one_poison_is_no_fault_of_the_model() -> None:
    """However many children it takes to find it."""
    world = World(Policy(solo_crashes=3, strikes=2))
    world.serve(A)
    busy = world.send(batch="other")
    works = [world.send(batch="same") for _ in range(8)]
    world.finish()
    poison, deaths = works[1], 0
    while world.outcome(poison) is None:
        if poison in world.child().groups[0].works:
            world.exit()
            world.loaded()
            deaths += 1
        else:
            world.finish()
    assert deaths == 6
    while world.child().groups:
        world.finish()
    assert [world.outcome(each) for each in (busy, *works)] == [
        "answered", "answered", "worker_crash", *["answered"] * 6
    ]  # fmt: skip
    assert state(world) is State.READY


def test_a_model_that_answers_nothing_and_dies_is_quarantined() -> None:
    world = World(Policy(solo_crashes=2, strikes=2, quarantine_s=60, quarantine_max_s=200))
    world.serve(A)
    works = [world.send(batch=n) for n in range(3)]
    crash(world, 4)
    assert [world.outcome(each) for each in works] == [
        "worker_crash", "worker_crash", "model_unavailable"
    ]  # fmt: skip
    health = world.scheduler.status(world.now)[0].health
    assert (health.state, health.retry_after_ms) == (State.QUARANTINED, 60_000)
    assert health.reason == "its worker died 2 times with no answer in between"
    refused = world.send()
    assert world.error(refused).retry_after_ms == 60_000
    for pause in (60, 120, 200, 200):
        world.wait(pause - 1)
        assert world.outcome(world.send()) == "model_unavailable"
        world.wait(1)
        world.send()
        world.loaded()
        crash(world, 2)
        assert state(world) is State.QUARANTINED, "one more is enough, for twice as long"
    world.wait(200)
    answered = world.send()
    world.loaded()
    world.finish()
    assert world.outcome(answered) == "answered"
    world.send()
    crash(world, 2)
    assert state(world) is State.COLD, "it has answered: all is forgotten"


def test_children_that_die_while_loading_or_idle_count_within_the_window() -> None:
    world = World(Policy(strikes=3, strike_window_s=100, load_crashes=9))
    world.serve(A)
    for _ in range(2):
        world.exit()
        world.scheduler.load(A, world.now)
        world.loaded()
        world.wait(1)
    world.scheduler.unload(A, world.now)
    world.exit()
    assert state(world) is State.COLD
    world.wait(100)
    work = world.send()
    for _ in range(2):
        world.exit()
    assert state(world) is State.LOADING
    world.exit()
    assert state(world) is State.QUARANTINED
    assert world.outcome(work) == "model_unavailable"


def test_an_order_lifts_a_quarantine() -> None:
    world = World(Policy(strikes=1))
    world.serve(A)
    world.exit()
    assert state(world) is State.QUARANTINED
    assert world.scheduler.load(A, world.now).state is State.LOADING
    assert told(world)[-2:] == ["quarantined", "loading"]


def test_every_state_is_reached_and_told() -> None:
    world = World(Policy(strikes=1, solo_crashes=1))
    world.scheduler.add_model(spec(), world.now)
    world.send()
    world.scheduler.on_load_failed(world.replica(), "no memory", world.now)
    world.exit()
    world.scheduler.load(A, world.now)
    world.loaded()
    world.send()
    world.scheduler.unload(A, world.now)
    world.finish()
    world.exit()
    world.send()
    world.loaded()
    world.exit()
    world.scheduler.add_model(replace(spec(), files="others"), world.now)
    assert told(world) == [
        "loading", "failed", "loading", "ready", "draining", "leaving", "cold", "loading",
        "ready", "quarantined", "cold",
    ]  # fmt: skip
    assert set(told(world)) == set(State)
