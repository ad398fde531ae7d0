"""Which of several nodes loads a model."""

from __future__ import annotations

import pytest

from modelmora.agents.models.orders import is_ours
from modelmora.kafka.leases import NodeLease
from modelmora.wire import partition_of

KEY = ("m", "1")
HOME = partition_of(b"m", 4)
OTHERS = tuple(number for number in range(4) if number != HOME)


def lease(node: str, *partitions: int, serves: bool = True) -> NodeLease:
    models = {"m@1": "echo"} if serves else {}
    return NodeLease(node, models, partitions, 0, 1000, {}, {})


@pytest.mark.parametrize(
    ("living", "chosen"),
    [
        ((lease("a", *OTHERS), lease("b", HOME)), "b"),
        ((lease("a", *OTHERS), lease("b", HOME, serves=False)), "a"),
        ((lease("a", *OTHERS), lease("b", serves=False), lease("c", HOME)), "c"),
        ((lease("a"), lease("b")), "a"),
    ],
)
def test_one_node_loads_it_and_all_agree(living: tuple[NodeLease, ...], chosen: str) -> None:
    serving = [each.node for each in living if each.serves]
    assert [node for node in serving if is_ours(KEY, node, living)] == [chosen]


def test_a_node_that_has_not_told_yet_counts_itself() -> None:
    assert is_ours(KEY, "new", ())
    assert is_ours(KEY, "a", (lease("b", HOME, serves=False),))
    assert not is_ours(KEY, "a", (lease("b", HOME),))
