"""Many models on little memory, rehearsed: every request answered, the budget kept, few loads."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from modelmora.bench.swap import (
    LOAD_S,
    LOOK_AHEAD,
    MODELS,
    PLACES,
    REQUESTS,
    ROOM,
    SIZE,
    SIZES,
    rehearsed,
    shuffled,
    swaps,
)
from modelmora.simulate import Played, belady

NAMES = [*SIZES]


def loaded(played: Played) -> list[str]:
    return sorted(name for _, name in played.loads)


@pytest.mark.no_cover
def test_a_shuffled_stream_for_25_models_is_answered_with_few_loads() -> None:
    stream = shuffled(seed=2)
    played = rehearsed(stream)
    assert None not in played.waits
    assert SIZE <= played.most_held <= ROOM
    assert len(played.loads) <= 1.3 * belady(stream, SIZES, ROOM, LOOK_AHEAD)
    (figure,) = swaps()
    assert not figure.missed


def test_what_is_all_in_sight_is_loaded_once_each() -> None:
    assert loaded(rehearsed(shuffled(), REQUESTS)) == sorted(NAMES)


def test_a_model_that_is_seldom_asked_for_waits_for_the_ageing_bound_and_no_longer() -> None:
    chosen = random.Random(3)
    stream = [
        NAMES[chosen.randrange(PLACES, MODELS) if number % 50 == 0 else number % PLACES]
        for number in range(3000)
    ]
    played = rehearsed(stream, 50, ageing_s=4)
    assert None not in played.waits
    # Each that has aged waits for one load, after those that aged before it.
    assert played.longest_s <= 4 + PLACES * 2 * LOAD_S


def least_recently_used(stream: Sequence[str], places: int) -> int:
    """Loads of one who answers requests in their order and drops what was used longest ago."""
    loaded: dict[str, None] = {}
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
    stream = random.Random(1).choices(NAMES, popularity, k=REQUESTS)
    played = rehearsed(stream, 1)
    assert None not in played.waits
    assert len(played.loads) <= 0.9 * least_recently_used(stream, PLACES)


@pytest.mark.no_cover
def test_little_look_ahead_is_used_for_the_models_for_which_most_waits() -> None:
    stream = shuffled()
    assert len(rehearsed(stream, 50).loads) <= 1.4 * belady(stream, SIZES, ROOM, 50)


def test_20_small_models_are_in_memory_at_once() -> None:
    played = rehearsed(shuffled(400, 20), 5, room=20 * SIZE)
    assert loaded(played) == sorted(NAMES[:20])
    assert played.most_held == 20 * SIZE
