"""What is said of topics that were changed."""

from __future__ import annotations

from modelmora.kafka.changes import TOLD_S, Changes
from modelmora.kafka.pulse import Shape


def test_what_stays_as_it_is_is_not_told() -> None:
    changes = Changes()
    for now in (1, 2):
        changes.look({"results": Shape("a", 4)}, now)
        assert changes.said(now) is None


def test_partitions_that_were_added_are_told_for_a_while() -> None:
    changes = Changes()
    changes.look({"results": Shape("a", 4)}, 0)
    for now in (1, 5):
        changes.look({"results": Shape("a", 5)}, now)
    assert changes.said(5) == "results has 5 partitions and had 4 (4 s ago)"
    changes.look({"results": Shape("a", 5)}, 1 + TOLD_S)
    assert changes.said(1 + TOLD_S) is None


def test_a_topic_that_was_gone_meanwhile_was_made_anew() -> None:
    changes = Changes()
    changes.look({"lane": Shape("a", 4), "results": Shape("c", 4)}, 0)
    changes.look({"results": Shape("c", 6)}, 1)
    changes.look({"lane": Shape("b", 4), "results": Shape("c", 6)}, 3)
    told = str(changes.said(3))
    assert told.startswith("lane was made anew, what lay there is gone (0")
    assert told.endswith("; results has 6 partitions and had 4 (2 s ago)")
