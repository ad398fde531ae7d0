"""The rules by which the model alone is fed, and the queue beside asyncio's."""

from __future__ import annotations

from modelmora.bench.beside.ceiling import BUDGET, arrival, single, sorted_budget, texts_of
from modelmora.bench.priority import queue

LENGTHS = [8, 250, 16, 128, 9, 200] * 50


def test_every_rule_takes_every_text_once() -> None:
    for rule in (arrival, single, sorted_budget):
        taken = [index for batch in rule(LENGTHS) for index in batch]
        assert sorted(taken) == list(range(len(LENGTHS)))


def test_a_sorted_batch_stays_within_its_padded_tokens() -> None:
    for batch in sorted_budget(LENGTHS):
        assert len(batch) == 1 or max(LENGTHS[i] for i in batch) * len(batch) <= BUDGET


def test_texts_are_the_same_in_every_run() -> None:
    assert texts_of(["one", "two"], [5, 7], seed=1) == texts_of(["one", "two"], [5, 7], seed=1)
    assert [len(text.split()) for text in texts_of(["one", "two"], [5, 7], seed=1)] == [3, 5]


def test_the_queue_breaks_no_order() -> None:
    ops, violations = queue(scale=0.1)
    assert violations.value == 0
    assert ops.value > 0
