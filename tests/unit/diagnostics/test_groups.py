"""Who has which partition of the lanes, and which models live on it."""

from __future__ import annotations

from modelmora.diagnostics.groups import Member, shares_of
from modelmora.wire import partition_of

LANES = [
    (f"ns.requests.{lane}", p) for lane in ("critical", "high", "normal", "low") for p in (0, 1)
]


def test_the_lanes_of_a_partition_stand_side_by_side() -> None:
    node = Member("node-a", "h", frozenset(place for place in LANES if place[1] == 0))
    lag = dict.fromkeys(LANES, 0) | {("ns.requests.low", 0): 7, ("ns.requests.low", 1): None}
    first, second = shares_of("ns", LANES, [node], lag, {"a-model": 1})
    assert first.lag == {"critical": 0, "high": 0, "normal": 0, "low": 7}
    assert (first.owner, second.owner) == ("node-a", None)
    assert second.lag["low"] is None
    home = (first, second)[partition_of(b"a-model", 2)]
    assert home.models == ("a-model",)
    assert first.models + second.models == ("a-model",)


def test_a_partition_torn_between_members_names_both() -> None:
    members = [
        Member("b", "h", frozenset({("ns.requests.low", 0)})),
        Member("a", "h", frozenset({("ns.requests.high", 0)})),
    ]
    first, _ = shares_of("ns", LANES, members, {}, {})
    assert first.owner == "a, b"


def test_without_lanes_there_is_nothing() -> None:
    assert shares_of("ns", [], [], {}, {}) == []


def test_a_model_that_is_spread_lives_on_several_partitions() -> None:
    lanes = [("ns.requests.low", partition) for partition in range(4)]
    shares = shares_of("ns", lanes, [], {}, {"hot": 2, "cold": 1, "all": 9})
    homes = {name: {s.partition for s in shares if name in s.models} for name in ("hot", "all")}
    first = partition_of(b"hot", 4)
    assert homes == {"hot": {first, (first + 2) % 4}, "all": {0, 1, 2, 3}}
