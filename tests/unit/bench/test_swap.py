"""Many models on little memory, rehearsed: every outcome right, the budget kept, few loads."""

from __future__ import annotations

import random

from modelmora.bench.swap import (
    LOAD_S,
    MODELS,
    PLACES,
    REQUESTS,
    SIZE,
    Rehearsal,
    belady,
    first_in_first_out,
    in_turn,
    shuffled,
    swaps,
)


def test_a_shuffled_stream_for_25_models_is_answered_with_few_loads() -> None:
    stream = shuffled(seed=2)
    played = Rehearsal(stream).play()
    assert (played.right, played.wrong) == (REQUESTS, 0)
    assert SIZE <= played.most_held <= PLACES * SIZE
    assert len(played.loads) <= 1.3 * belady(stream, played.look_ahead)
    (figure,) = swaps()
    assert not figure.missed


def test_what_is_all_in_sight_is_loaded_once_each() -> None:
    played = Rehearsal(shuffled(), look_ahead=REQUESTS).play()
    assert sorted(played.loads) == list(range(MODELS))


def test_a_model_that_is_seldom_asked_for_waits_for_the_ageing_bound_and_no_longer() -> None:
    chosen = random.Random(3)
    stream = [
        chosen.randrange(PLACES, MODELS) if number % 50 == 0 else number % PLACES
        for number in range(3000)
    ]
    played = Rehearsal(stream, look_ahead=50, ageing_s=4).play()
    assert played.right == len(stream)
    # Each that has aged waits for one load, after those that aged before it.
    assert played.longest_s <= 4 + PLACES * 2 * LOAD_S


def test_20_small_models_are_in_memory_at_once() -> None:
    played = Rehearsal(shuffled(400, 20), places=20, look_ahead=5).play()
    assert sorted(played.loads) == list(range(20))
    assert played.most_held == 20 * SIZE


def test_those_we_are_compared_with_load_what_they_must() -> None:
    stream = [0, 1, 2, 0, 1, 2]
    assert first_in_first_out(stream, places=2) == 6
    assert in_turn(stream, look_ahead=6, places=2) == 4
    assert belady(stream, look_ahead=1, places=2) == 4
    assert belady(stream, look_ahead=6, places=2) == 3
