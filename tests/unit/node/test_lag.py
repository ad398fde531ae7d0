"""How far the group is behind, by what the broker has said."""

from __future__ import annotations

from modelmora.kafka.batches import Partition
from modelmora.node.lag import Lag, lag
from modelmora.node.path import Look

A, B, C, D = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
TOPICS = frozenset({"a", "b", "c"})


def look(
    bounds: dict[Partition, tuple[int, int]],
    committed: dict[Partition, int],
    *unowned: Partition,
) -> Look:
    return Look(frozenset(), {}, frozenset(unowned), bounds, committed)


def test_what_is_read_and_not_done_counts_and_each_topic_is_told() -> None:
    seen = look({A: (0, 10), B: (0, 4), C: (0, 7)}, {C: 5}, C)
    own, unowned = {"a": 7, "b": 0, "c": 0}, {"a": 0, "b": 2, "c": 0}
    assert lag(seen, {A: 3, B: 4}, TOPICS) == Lag(own, unowned)


def test_what_retention_has_deleted_is_not_behind() -> None:
    seen = look({A: (8, 10), C: (6, 7)}, {C: 2}, C)
    assert lag(seen, {A: 3}, TOPICS) == Lag({"a": 2, "b": 0, "c": 0}, {"a": 0, "b": 1, "c": 0})


def test_where_nothing_was_committed_all_that_is_kept_counts() -> None:
    assert lag(look({C: (2, 7)}, {}, C), {}, TOPICS).unowned["b"] == 5


def test_a_log_that_begins_anew_is_not_behind_by_less_than_nothing() -> None:
    assert lag(look({A: (0, 2)}, {}), {A: 9}, TOPICS).own["a"] == 0


def test_partitions_of_others_and_those_that_the_broker_said_nothing_of_do_not_count() -> None:
    none = dict.fromkeys(TOPICS, 0)
    assert lag(look({A: (0, 9)}, {}), {B: 0}, TOPICS) == Lag(none, none)
