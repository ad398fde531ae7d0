"""Room in memory: the budget, who leaves, who waits, who never fits."""

from __future__ import annotations

from modelmora.scheduling import KillReason, ModelKey, Need, Policy
from modelmora.scheduling.residency import Plan, Presence, Resident, Verdict, make_room, overrun
from tests.unit.scheduling.world import MIB, SIZE, A, B, C, World, spec

TWO = Policy(budget_bytes=2 * SIZE + MIB, ageing_s=120)
"""Room for two test models."""
ONE = Policy(budget_bytes=SIZE + MIB, ageing_s=120)


def one(
    name: str,
    size: int,
    presence: Presence = Presence.IDLE,
    used_at: float = 0,
    worth: float = 0,
) -> Resident:
    """A replica in memory, numbered by its name."""
    return Resident(number(name), size, used_at, presence, worth)


def number(name: str) -> int:
    return int.from_bytes(name.encode(), "big")


def plan(verdict: Verdict, *names: str) -> Plan:
    """A verdict and who leaves for it."""
    return Plan(verdict, tuple(map(number, names)))


def test_a_model_larger_than_the_budget_never_fits() -> None:
    assert make_room(11, 10, []) == plan(Verdict.NEVER)
    assert make_room(8, 10, [one("p", 3, Presence.PINNED)]) == plan(Verdict.NEVER)


def test_a_model_that_fits_is_loaded_now() -> None:
    assert make_room(4, 10, [one("a", 6)]) == plan(Verdict.NOW)


def test_what_is_promised_to_others_is_not_given_away() -> None:
    residents = [one("a", 2, Presence.BUSY)]
    assert make_room(4, 10, residents, reserved=4) == plan(Verdict.NOW)
    assert make_room(4, 10, residents, reserved=5) == plan(Verdict.LATER)


def test_memory_that_is_on_its_way_back_is_awaited() -> None:
    departing = [one("a", 8, Presence.DEPARTING), one("b", 2)]
    assert make_room(8, 10, departing) == plan(Verdict.SOON)


def test_idle_models_leave_least_recently_used_first() -> None:
    residents = [one("new", 4, used_at=9), one("old", 4, used_at=1)]
    assert make_room(4, 10, residents) == plan(Verdict.SOON, "old")
    assert make_room(9, 10, residents) == plan(Verdict.SOON, "old", "new")


def test_idle_models_that_are_worth_least_for_their_bytes_leave_first() -> None:
    residents = [
        one("slow", 4, worth=8, used_at=1),
        one("quick", 4, worth=4, used_at=9),
        one("large", 2, worth=3),
    ]
    assert make_room(4, 10, residents) == plan(Verdict.SOON, "quick")
    assert make_room(5, 10, residents) == plan(Verdict.SOON, "quick", "large")


def test_nobody_leaves_needlessly() -> None:
    residents = [one("small", 1, used_at=1), one("large", 8, used_at=2)]
    assert make_room(9, 10, residents) == plan(Verdict.SOON, "large")


def test_running_loading_pinned_and_fresh_models_stay() -> None:
    for presence in (Presence.BUSY, Presence.LOADING, Presence.FRESH):
        assert make_room(5, 10, [one("a", 6, presence)]) == plan(Verdict.LATER)


def test_for_an_aged_claim_busy_models_are_asked_to_leave() -> None:
    residents = [
        one("idle", 2),
        one("fresh", 2, Presence.FRESH, used_at=9),
        one("old", 3, Presence.BUSY, used_at=1),
        one("new", 3, Presence.BUSY, used_at=2),
    ]
    assert make_room(2, 10, residents, aged=True) == plan(Verdict.SOON, "idle")
    assert make_room(7, 10, residents, aged=True) == plan(Verdict.SOON, "idle", "fresh", "old")


def test_nobody_is_asked_to_leave_while_that_is_not_enough_yet() -> None:
    residents = [one("busy", 4, Presence.BUSY), one("coming", 6, Presence.LOADING)]
    assert make_room(8, 10, residents, aged=True) == plan(Verdict.SOON)


def test_models_that_outgrow_the_budget_push_idle_ones_out() -> None:
    residents = [one("a", 4, used_at=1), one("b", 5, used_at=2), one("c", 4, Presence.BUSY)]
    assert overrun(13, residents) == ()
    assert overrun(12, residents) == (number("a"),)


def killed(world: World, key: ModelKey) -> KillReason | None:
    """Why the model's child was ended."""
    return world.child(key).killed


def test_the_load_starts_when_the_memory_is_seen_to_be_back() -> None:
    world = World(TWO)
    world.serve(A, B)
    world.now += 1
    world.send(A)
    world.finish(A)
    world.scheduler.add_model(spec(C), world.now)
    world.send(C)
    assert (killed(world, A), killed(world, B)) == (None, KillReason.ROOM)
    assert world.loads == [A, B]
    world.exit(B)
    assert world.loads == [A, B, C]


def visited(world: World, key: ModelKey, times: int, apart_s: float) -> None:
    """So many requests for the model, each answered at once."""
    for _ in range(times):
        world.now += apart_s
        world.send(key)
        world.finish(key)


def test_a_model_that_is_often_asked_for_stays_though_another_was_used_last() -> None:
    world = World(TWO)
    world.serve(A, B)
    visited(world, B, 2, apart_s=600)
    visited(world, A, 5, apart_s=10)
    visited(world, B, 1, apart_s=20)
    world.scheduler.add_model(spec(C), world.now)
    world.send(C)
    assert (killed(world, A), killed(world, B)) == (None, KillReason.ROOM)


def test_the_model_for_which_most_waits_is_loaded_first() -> None:
    world = World(ONE)
    world.serve(A)
    world.send(A)
    for key in (B, C):
        world.scheduler.add_model(spec(key), world.now)
        world.send(key)
    world.send(C)
    world.finish(A)
    world.exit(A)
    assert world.loads == [A, C]


def test_in_one_lane_loads_are_shared_among_principals() -> None:
    """`many` has a hundred requests for each of six models, `one` one for a seventh."""
    world = World(ONE)
    world.serve(A)
    world.send(A, principal="many")
    keys = [*((name, "1") for name in "uvwxyz"), B]
    for key in keys:
        world.scheduler.add_model(spec(key), world.now)
    for key in keys[:-1]:
        for _ in range(100):
            world.send(key, principal="many")
    world.send(B, principal="one")
    while B not in world.loads:
        key = world.loads[-1]
        world.drain()
        world.exit(key)
        world.loaded(world.loads[-1])
    assert len(world.loads) <= 6, "after four for the other"


def test_requests_of_one_model_run_together_and_those_of_the_next_after_them() -> None:
    """AABBCC, not ABCABC."""
    world = World(ONE)
    world.serve(A)
    for key in (B, C):
        world.scheduler.add_model(spec(key), world.now)
    for _ in range(4):
        for key in (A, B, C):
            world.send(key)
    while len(world.loads) < 3:
        key = world.loads[-1]
        world.drain()
        world.exit(key)
        world.loaded(world.loads[-1])
    world.drain()
    assert world.loads == [A, B, C]
    assert len(world.outcomes) == 12


def test_room_that_is_being_made_for_one_is_not_taken_by_another() -> None:
    world = World(ONE)
    world.serve(A)
    for key in (B, C):
        world.scheduler.add_model(spec(key), world.now)
        world.send(key)
    world.exit(A)
    assert world.loads == [A, B]
    world.loaded(B)
    world.finish(B)
    world.exit(B)
    assert world.loads == [A, B, C]


def test_a_stream_for_a_loaded_model_cannot_starve_one_that_needs_its_room() -> None:
    world = World(ONE)
    world.serve(A)
    world.scheduler.add_model(spec(B), world.now)
    world.send(A)
    begin = world.now
    waiting = world.send(B)
    while killed(world, A) is None:
        world.wait(1.0)
        world.send(A)
        world.finish(A)
        assert world.now < begin + 125
    assert world.now >= begin + 120
    world.exit(A)
    world.loaded(B)
    world.finish(B)
    assert world.outcome(waiting) == "answered"


def test_switching_waits_for_the_queue_so_that_equal_models_run_together() -> None:
    world = World(ONE)
    world.serve(A)
    world.scheduler.add_model(spec(B), world.now)
    for key in (A, B, A, B, A, B):
        world.send(key)
    for _ in range(3):
        world.finish(A)
    world.exit(A)
    world.loaded(B)
    world.finish(B)
    assert world.loads == [A, B]
    assert [end for _, end in world.outcomes] == ["answered"] * 6


def test_a_large_claim_does_not_hold_back_a_small_one_until_it_has_aged() -> None:
    world = World(TWO)
    world.serve(A)
    world.send(A)
    world.scheduler.add_model(spec(B, 2 * SIZE), world.now)
    world.send(B)
    world.scheduler.add_model(spec(C), world.now)
    world.send(C)
    assert world.loads == [A, C]


def test_a_pinned_model_stays_and_what_cannot_fit_beside_it_is_told_so() -> None:
    world = World(ONE)
    world.serve(A)
    world.pin(A, pinned=True)
    world.scheduler.add_model(spec(B), world.now)
    refused = world.send(B)
    assert world.outcome(refused) == "cannot_be_served"
    world.pin(A, pinned=False)
    world.wait(1)
    world.send(B)
    assert killed(world, A) is KillReason.ROOM


def test_what_waits_is_told_when_a_pin_takes_its_room() -> None:
    world = World(ONE)
    world.serve(A)
    world.send(A)
    world.scheduler.add_model(spec(B), world.now)
    waiting = world.send(B)
    world.pin(A, pinned=True)
    assert world.outcome(waiting) == "cannot_be_served"


def test_a_fresh_model_is_safe_for_its_minimum_residency() -> None:
    world = World(Policy(budget_bytes=SIZE + MIB, min_residency_s=5))
    world.serve(A)
    world.scheduler.add_model(spec(B), world.now)
    world.send(B)
    world.wait(4.9)
    assert killed(world, A) is None
    world.wait(0.1)
    assert killed(world, A) is KillReason.ROOM


def test_a_model_stays_for_a_share_of_what_its_load_took() -> None:
    world = World(Policy(budget_bytes=SIZE + MIB, residency_share=0.25))
    world.scheduler.add_model(spec(A), world.now)
    world.scheduler.load(A, world.now)
    world.loaded(A, load_ms=8000)
    world.scheduler.add_model(spec(B), world.now)
    world.send(B)
    world.wait(1.9)
    assert killed(world, A) is None
    world.wait(0.1)
    assert killed(world, A) is KillReason.ROOM


def test_measured_memory_replaces_the_estimate() -> None:
    world = World(TWO)
    world.serve(A)
    world.scheduler.on_memory(world.replica(A), Need(2 * SIZE), world.now)
    world.scheduler.add_model(spec(B), world.now)
    world.wait(1)
    world.send(B)
    assert killed(world, A) is KillReason.ROOM
    world.exit(A)
    world.loaded(B, private_bytes=MIB)
    world.scheduler.load(A, world.now)
    assert world.loads == [A, B, A]


def test_an_idle_model_leaves_when_others_have_grown_beyond_the_budget() -> None:
    world = World(TWO)
    world.serve(A, B)
    world.send(B)
    world.scheduler.on_memory(world.replica(B), Need(SIZE + 2 * MIB), world.now)
    assert killed(world, A) is KillReason.ROOM
    assert killed(world, B) is None


def test_room_that_an_aged_claim_waits_for_is_not_taken_by_a_small_one() -> None:
    world = World(TWO)
    world.serve(A)
    world.send(A)
    world.scheduler.add_model(spec(B, 2 * SIZE), world.now)
    world.send(B)
    world.wait(120)
    world.scheduler.add_model(spec(C), world.now)
    world.send(C)
    assert world.loads == [A]
    world.finish(A)
    assert killed(world, A) is KillReason.ROOM
    world.exit(A)
    assert world.loads == [A, B]


def test_a_model_whose_requests_wait_for_company_is_not_idle() -> None:
    world = World(Policy(budget_bytes=SIZE + MIB, group_wait_s=10))
    world.serve(A)
    world.send(A)
    world.scheduler.add_model(spec(B), world.now)
    world.send(B)
    assert world.ran == []
    assert killed(world, A) is None
