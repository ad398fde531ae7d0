"""How many nodes traffic needs: shared as partitions are, judged by what is answered in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelmora.scheduling import Policy
from modelmora.simulate import Asked, Cost, Simulation, Trace
from modelmora.simulate.capacity import Goal, Plan, owner_of, plans, shared
from modelmora.simulate.invent import Invention, invent
from modelmora.wire import partition_of

PARTITIONS = 12
COST = Cost(load_s=0, bytes=100, unit_s=1)
POLICY = Policy(budget_bytes=1000, cores=2)


def planned(trace: Trace, nodes: range, goal: Goal, memory: int = 1000) -> list[Plan]:
    return [*plans(trace, replace(POLICY, budget_bytes=memory), nodes, goal, PARTITIONS)]


def apart() -> tuple[str, str]:
    """Two names whose partitions two nodes share."""
    names = [f"m{number}" for number in range(50)]
    half = PARTITIONS // 2
    low = next(name for name in names if partition_of(name.encode(), PARTITIONS) < half)
    high = next(name for name in names if partition_of(name.encode(), PARTITIONS) >= half)
    return f"{low}@1", f"{high}@1"


@pytest.mark.parametrize(
    ("nodes", "owned"), [(1, [12]), (5, [3, 3, 2, 2, 2]), (12, [1] * 12), (14, [1] * 12 + [0, 0])]
)
def test_nodes_have_partitions_that_follow_on_each_other(nodes: int, owned: list[int]) -> None:
    owners = [owner_of(partition, PARTITIONS, nodes) for partition in range(PARTITIONS)]
    assert owners == sorted(owners)
    assert [owners.count(node) for node in range(nodes)] == owned


def test_a_model_lies_where_its_name_does_whatever_its_version() -> None:
    trace = Trace({"m@1": COST, "m@2": COST}, [Asked(n, f"m@{n % 2 + 1}") for n in range(10)])
    parts = shared(trace, 3, PARTITIONS)
    place = owner_of(partition_of(b"m", PARTITIONS), PARTITIONS, 3)
    assert [len(part.requests) for part in parts] == [10 * (node == place) for node in range(3)]


def test_a_model_that_is_spread_lies_on_several_nodes() -> None:
    trace = Trace({"m@1": replace(COST, spread=4)}, [Asked(n, "m@1") for n in range(400)])
    sizes = [len(part.requests) for part in shared(trace, 4, PARTITIONS)]
    assert sum(sizes) == 400
    assert min(sizes) > 50


def test_one_node_is_what_the_simulation_plays() -> None:
    trace = invent(Invention(models=6, rate=4, seconds=120, burst=4))
    (alone,) = planned(trace, range(1, 2), Goal(1, 1.0), 4 << 30)
    played = Simulation(trace, replace(POLICY, budget_bytes=4 << 30)).play()
    took = sorted(each for each in played.took if each is not None)
    assert alone.answered == len(took)
    assert alone.loads == len(played.loads)
    assert alone.p50 == took[(len(took) + 1) // 2 - 1]


def test_as_many_as_answer_in_time_and_no_more_are_tried() -> None:
    names = apart()
    asked = [Asked(n, name) for n in range(20) for name in names]
    told = planned(
        Trace(dict.fromkeys(names, replace(COST, cores=True)), asked), range(1, 5), Goal(1.5, 1)
    )
    assert [(each.nodes, each.enough) for each in told] == [(1, False), (2, True)]
    assert told[0].latest
    assert told[1].latest is None
    assert (told[1].in_time, told[1].busiest) == (1, 0.5)


def test_what_is_not_answered_is_late() -> None:
    trace = Trace({"m@1": COST}, [Asked(0, "m@1"), Asked(0, "m@1", timeout_ms=1000)])
    (told,) = planned(trace, range(1, 2), Goal(100, 0.9))
    assert (told.answered, told.in_time, told.p50, told.p95) == (1, 0.5, 1, None)
    assert told.as_json()["latest_requests"] == 1
    (told,) = planned(trace, range(1, 2), Goal(100, 0.9), memory=1)
    assert (told.answered, told.p50, told.enough) == (0, None, False)


def test_of_models_asked_alike_each_node_holds_its_own() -> None:
    """Memory is a node's: what one cannot hold, two can."""
    names = apart()
    asked = [Asked(10 * n, name) for n in range(10) for name in names]
    one, two = planned(
        Trace(dict.fromkeys(names, replace(COST, load_s=3)), asked), range(1, 3), Goal(2, 0.8), 100
    )
    assert (one.enough, two.enough) == (False, True)
    assert one.loads > two.loads == 2
