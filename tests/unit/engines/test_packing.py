"""Packing wastes little and learning finds the better budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.engines.sentences.packing import BUDGETS, Budget, pack

LENGTHS = st.lists(st.integers(1, 600), max_size=200)


@given(LENGTHS, st.integers(1, 4096))
def test_every_text_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = pack(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= budget or len(batch) == 1
    assert [lengths[i] for batch in batches for i in batch] == sorted(lengths)


@given(st.integers(1, 300), st.integers(1, 200))
def test_texts_of_one_length_fill_their_batches(length: int, count: int) -> None:
    batches = pack([length] * count, 1024)
    full = max(1, 1024 // length)
    assert [len(batch) for batch in batches[:-1]] == [full] * (len(batches) - 1)


def learn(rates: dict[int, float], rounds: int = 2000) -> Budget:
    """Let a budget learn on a machine where `rates` gives tokens per second by budget."""
    budget = Budget()
    for _ in range(rounds):
        size = budget.current
        budget.observe(size, size, size / rates[size])
    return budget


@pytest.mark.parametrize("fastest", BUDGETS)
def test_learning_climbs_to_the_fastest_budget(fastest: int) -> None:
    distance = {size: abs(BUDGETS.index(size) - BUDGETS.index(fastest)) for size in BUDGETS}
    assert learn({size: 1000.0 * 0.8 ** distance[size] for size in BUDGETS}).best == fastest


def test_learning_stays_where_nothing_is_clearly_better_and_seldom_tries() -> None:
    rates = {512: 1000.0, 1024: 1000.0, 2048: 1030.0, 4096: 1000.0}
    budget, tried = Budget(), 0
    for _ in range(1000):
        tried += budget.current != 1024
        budget.observe(budget.current, budget.current, budget.current / rates[budget.current])
    assert budget.best == 1024
    assert tried < 250


def test_batches_that_are_not_full_teach_nothing() -> None:
    budget = Budget(rest=0)
    for _ in range(500):
        budget.observe(100, 100, 1.0)
    assert budget.current == budget.best == 1024
