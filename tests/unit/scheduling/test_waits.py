"""What requests are told of their wait: what is ahead, what was measured, and what nobody knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.messages import Lane, Parameter
from modelmora.scheduling import ModelKey, Policy, Position
from modelmora.scheduling.expected import (
    Comer,
    Runs,
    Seat,
    Typical,
    left_s,
    next_start_s,
    room_in_s,
    shape_of,
)
from tests.unit.scheduling.world import MIB, SIZE, A, B, C, World, ids, spec

ALONE = Policy(group_requests=1)


def used(world: World, key: ModelKey, run_ms: float = 40, load_ms: float = 200) -> None:
    """The model has been loaded and used once, and has left."""
    world.scheduler.add_model(spec(key), world.now)
    world.scheduler.load(key, world.now)
    world.loaded(key, load_ms)
    world.send(key)
    world.finish(key, run_ms)
    world.scheduler.unload(key, world.now)
    world.exit(key)


def told(world: World, key: ModelKey = A, lane: Lane = Lane.NORMAL) -> Position:
    position = world.submit(key, lane)[1]
    assert position is not None
    return position


# What is learned ---------------------------------------------------------------------------------


def test_one_that_was_frozen_spoils_no_estimate() -> None:
    typical = Typical()
    for ms in (50.0, 52.0, 60_000.0, 51.0, 49.0):
        typical.add(ms)
    assert typical.value == 51.0


def test_what_has_changed_for_good_is_learned() -> None:
    typical = Typical()
    for ms in [50.0] * 100 + [200.0] * 5:
        typical.add(ms)
    assert typical.value == 200.0


def test_each_shape_is_learned_apart_and_a_new_one_is_like_the_others() -> None:
    runs = Runs()
    assert runs.of("large") is None
    runs.learn(["small"], 10)
    runs.learn(["large"] * 2, 200)
    assert (runs.of("small"), runs.of("large"), runs.of("never seen")) == (10, 100, 55)


def test_a_mixed_group_is_shared_out_as_was_expected_of_each() -> None:
    runs = Runs()
    runs.learn(["small"], 10)
    runs.learn(["large"], 90)
    runs.learn(["small", "large"], 200)
    assert (runs.of("small"), runs.of("large")) == (15, 135)


def test_only_so_many_shapes_are_remembered() -> None:
    runs = Runs()
    for number in range(1000):
        runs.learn([number], number)
    assert runs.of(999) == 999
    assert runs.of(0) == 995, "as the latest of all"


def test_a_seed_and_what_it_is_about_are_no_shape() -> None:
    wide: dict[str, Parameter] = {"steps": 20, "size": "512x512"}
    same = shape_of({**wide, "seed": 1, "negative_prompt": "rain"}, 1000)
    assert same == shape_of({**wide, "seed": 2, "negative_prompt": "snow"}, 900)
    assert same != shape_of({**wide, "steps": 40}, 1000)
    assert same != shape_of({**wide, "size": "64x64"}, 1000)
    assert same != shape_of(wide, 4000)


# Pure arithmetic ---------------------------------------------------------------------------------


def test_what_is_overdue_is_taken_to_hang_for_as_long_again_until_it_is_ended() -> None:
    assert [left_s(10, elapsed, 300 - elapsed) for elapsed in (0, 4, 10, 60, 290)] == [
        10, 6, 0, 50, 10,
    ]  # fmt: skip


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.integers(0, 40),
    st.floats(1, 9),
)
def test_the_next_starts_where_a_place_is_free_first(
    places: list[float], count: int, each_s: float
) -> None:
    """As if each of those ahead took the place that is free first, one by one."""
    free = sorted(places)
    for _ in range(count):
        free = sorted([*free[1:], free[0] + each_s])
    assert next_start_s(places, count, each_s) == pytest.approx(free[0])


def test_room_is_what_is_given_back_first_and_those_before_take_theirs() -> None:
    own = Comer(10, 2, 0)
    assert room_in_s(30, [Seat(5, 10)], [own], 120) == 0
    assert room_in_s(30, [Seat(5, 10), Seat(9, 20)], [own], 120) == 5
    assert room_in_s(30, [Seat(5, 10), Seat(9, 20)], [Comer(10, 2, 1), own], 120) == 8
    assert room_in_s(30, [Seat(500, 30)], [own], 120) == 120, "then it has aged"


# Requests ----------------------------------------------------------------------------------------


def test_the_estimate_of_a_cold_model_is_its_load() -> None:
    world = World()
    used(world, A)
    assert told(world) == Position(0, 0.2)
    world.now += 0.15
    later = told(world)
    assert (later.ahead, later.loading) == (1, True)
    assert later.wait_s == pytest.approx(0.05), "it starts in the group of the first"


def test_a_model_that_was_never_loaded_has_no_estimate() -> None:
    world = World()
    world.scheduler.add_model(spec(), world.now)
    assert told(world) == Position(0, None)


def test_what_runs_counts_with_what_is_left_of_it() -> None:
    world = World(ALONE)
    world.serve(A)
    world.send(shape="long")
    world.finish(run_ms=10_000)
    world.send(shape="short")
    world.finish(run_ms=100)
    world.send(shape="long")
    world.begin()
    world.now += 4
    position = told(world)
    assert position.wait_s == pytest.approx(6)


def test_a_frozen_child_makes_the_estimate_longer_and_longer() -> None:
    world = World(ALONE)
    world.serve(A)
    world.send()
    world.finish(run_ms=1000)
    world.send()
    world.begin()
    waits = []
    for _ in range(4):
        world.now += 20
        waits.append(told(world, lane=Lane.CRITICAL).wait_s)
    assert waits == pytest.approx([19, 40, 61, 82])


def test_those_of_one_group_start_together() -> None:
    world = World(Policy(group_requests=4))
    world.serve(A)
    world.send()
    world.finish(run_ms=1000)
    world.send()
    assert [told(world).wait_s for _ in range(9)] == [1] * 4 + [5] * 4 + [9]


def test_another_model_must_have_done_its_work_before_it_gives_room() -> None:
    world = World(Policy(group_requests=1, budget_bytes=SIZE + 10 * MIB))
    used(world, A)
    used(world, B)
    world.send(A)
    world.loaded(A)
    world.send(A)
    position = told(world, B)
    assert position.wait_s == pytest.approx(2 * 0.04 + 0.2)


def test_models_that_came_first_have_room_first() -> None:
    world = World(Policy(group_requests=1, budget_bytes=SIZE + 10 * MIB))
    for key in (A, B, C):
        used(world, key)
    world.send(A)
    world.loaded(A)
    world.send(B)
    world.send(B)
    position = told(world, C)
    assert position.wait_s == pytest.approx(0.05 + (0.2 + 2 * 0.04) + 0.2), "it stays a little"
    urgent = told(world, C, Lane.CRITICAL)
    assert urgent.wait_s == pytest.approx(0.05 + 0.2)


def test_where_those_stand_that_wait_is_known_at_any_time() -> None:
    world = World(Policy(group_requests=2))
    world.serve(A)
    world.send()
    world.finish(run_ms=100)
    world.send()
    world.begin()
    for lane in (Lane.LOW, Lane.NORMAL, Lane.NORMAL, Lane.NORMAL):
        world.send(lane=lane)
    standing = list(world.scheduler.waits.standing(world.now))
    assert ids(work for work, _ in standing) == ["r4", "r5", "r6", "r3"]
    assert [position.ahead for _, position in standing] == [1, 2, 3, 4]
    assert [position.wait_s for _, position in standing] == pytest.approx([0.1, 0.1, 0.3, 0.4])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12), st.integers(1, 5))
def test_what_is_told_at_first_is_where_it_stands(sent: list[tuple[int, int]], most: int) -> None:
    """In a line of equal works that all came before."""
    world = World(Policy(group_requests=most))
    world.serve(A)
    world.send()
    world.finish(run_ms=100)
    world.send()
    world.begin()
    for lane, batch in sent:
        world.send(lane=Lane(lane), batch=batch)
    work, position = world.submit(lane=Lane.LOW, batch=0)
    found = dict(world.scheduler.waits.standing(world.now))
    if work.group is None:
        assert position is not None
        assert position.ahead == found[work].ahead


def test_who_joins_a_group_starts_with_it_and_not_behind_those_that_came_between() -> None:
    world = World(Policy(group_requests=4))
    world.serve(A)
    world.send()
    world.finish(run_ms=100)
    world.send()
    world.begin()
    for batch in ("first", "between", "between"):
        world.send(batch=batch)
    joins, behind = (world.submit(batch=batch)[1] for batch in ("first", "other"))
    assert joins is not None
    assert behind is not None
    assert joins.wait_s == pytest.approx(0.1)
    assert behind.wait_s == pytest.approx(0.5)


def test_a_line_of_thousands_has_an_estimate_too() -> None:
    world = World(ALONE)
    world.serve(A)
    world.send()
    world.finish(run_ms=100)
    for _ in range(1000):
        world.send()
    assert told(world).wait_s == pytest.approx(100)
