"""Many models on little memory, rehearsed: every outcome right, the budget kept, few loads."""

from __future__ import annotations

import random
from collections.abc import Sequence

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


def least_recently_used(stream: Sequence[int], places: int) -> int:
    """Loads of one who answers requests in their order and drops what was used longest ago."""
    loaded: dict[int, None] = {}
    loads = 0
    for model in stream:
        loads += model not in loaded
        loaded.pop(model, None)
        loaded[model] = None
        if len(loaded) > places:
            del loaded[next(iter(loaded))]
    return loads


def test_models_that_are_often_asked_for_stay_longer_than_by_their_last_use() -> None:
    popularity = [1 / (place + 1) for place in range(MODELS)]
    stream = random.Random(1).choices(range(MODELS), popularity, k=REQUESTS)
    played = Rehearsal(stream, look_ahead=1).play()
    assert played.right == REQUESTS
    assert len(played.loads) <= 0.9 * least_recently_used(stream, PLACES)


def test_little_look_ahead_is_used_for_the_models_for_which_most_waits() -> None:
    stream = shuffled()
    played = Rehearsal(stream, look_ahead=50).play()
    assert len(played.loads) <= 1.4 * belady(stream, 50)


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
