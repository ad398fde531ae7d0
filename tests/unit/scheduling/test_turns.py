"""Principals that wait for the same: each has its share by cost, whatever the others send."""

from __future__ import annotations

from collections import Counter

import pytest

from modelmora.messages import Lane
from modelmora.scheduling import Policy, Work
from modelmora.scheduling.line.queue import LaneQueue
from modelmora.scheduling.line.turns import Account, Clock
from tests.unit.scheduling.world import World, ids

ONE = Policy(group_requests=1, groups_per_replica=1)
FOUR = Policy(group_requests=4, groups_per_replica=1)


def busy(policy: Policy = ONE) -> World:
    """A world with a loaded model whose child is at work, and was measured: 100 ms each."""
    world = World(policy)
    world.serve(("a", "1"))
    world.send()
    world.finish(run_ms=100)
    world.send()
    return world


def takes(work: Work) -> float:
    """How long a work takes (ms): its shape tells, if it has one."""
    return work.shape if isinstance(work.shape, int) else 100


def serve(world: World, groups: int) -> list[Work]:
    """The child is done with one group after the other; the works of those that it began."""
    before = len(world.ran)
    for _ in range(groups):
        if not world.child().groups:
            break
        world.finish(run_ms=sum(map(takes, world.child().groups[0].works)))
    return [work for group in world.ran[before:] for work in group.works]


def shares(works: list[Work]) -> Counter[str]:
    return Counter(work.principal for work in works)


def test_one_request_does_not_wait_behind_the_many_of_another() -> None:
    world = busy()
    for _ in range(1000):
        world.send(principal="many")
    world.send(principal="one", name="one")
    assert "one" in ids(serve(world, 2))


def test_alone_a_principal_is_served_by_arrival_whatever_it_asks() -> None:
    world = busy(FOUR)
    sent = [world.send(principal="p", batch=n % 3, shape=1 + n % 7).request_id for n in range(60)]
    served = ids(serve(world, 25))
    for key in range(3):
        assert [name for name in served if name in sent[key::3]] == sent[key::3]
    assert served[:4] == [sent[0], sent[3], sent[6], sent[9]]


def test_a_group_is_packed_from_all_in_fair_turns() -> None:
    world = busy(FOUR)
    for principal in "aabbbbbbccccccc":
        world.send(principal=principal)
    served = serve(world, 3)
    assert [work.principal for work in served] == list("abcabcbcbcbc")


def test_the_share_is_one_of_cost_and_not_of_requests() -> None:
    world = busy()
    for _ in range(200):
        world.send(principal="dear", shape=400)
        world.send(principal="cheap", shape=100)
    had = shares(serve(world, 100))
    assert had["cheap"] == pytest.approx(4 * had["dear"], abs=8)


def test_what_was_measured_counts_and_not_what_was_said() -> None:
    """`liar` says that it asks as little as the other, and takes ten times as much."""
    world = World(ONE)
    world.serve(("a", "1"))
    for _ in range(100):
        world.send(principal="honest")
        world.send(principal="liar")
    for _ in range(80):
        liar = world.child().groups[0].works[0].principal == "liar"
        world.finish(run_ms=1000 if liar else 100)
    had = shares([work for group in world.ran for work in group.works])
    assert had["honest"] >= 8 * had["liar"]


def test_shapes_made_up_for_each_request_gain_nothing() -> None:
    world = busy()
    for number in range(100):
        world.send(principal="honest", shape=100)
        world.send(principal="liar", shape=f"shape {number}")
    for _ in range(40):
        liar = world.child().groups[0].works[0].principal == "liar"
        world.finish(run_ms=400 if liar else 100)
    world.send(principal="late", name="late")
    assert "late" in ids(serve(world, 6))
    had = shares([work for group in world.ran[:42] for work in group.works])
    assert had["honest"] >= 3 * had["liar"]


@pytest.mark.no_cover
def test_names_made_up_for_each_request_leave_others_their_share() -> None:
    world = busy()
    for _ in range(20):
        world.send(principal="honest")
    for number in range(2000):
        if number % 2 == 0:  # two come where one is served: more and more wait
            for which in range(2):
                world.send(principal=f"{number}.{which}")
        world.finish(run_ms=100)
    assert shares([work for group in world.ran for work in group.works])["honest"] >= 5


def lane_work(order: int, principal: str, batch: object = None) -> Work:
    work = Work(str(order), ("a", "1"), Lane.LOW, batch, 1, 0.0, None, b"", order, 0)
    work.order, work.principal = order, principal
    return work


@pytest.mark.no_cover
def test_principals_with_nothing_waiting_are_forgotten() -> None:
    lane, policy = LaneQueue(Lane.LOW), Policy(group_requests=1)
    for order in range(10):
        lane.append(lane_work(order, "stays"))
    for order in range(10, 20_000):
        lane.append(lane_work(order, f"p{order}", order))
        if order % 1000 == 999:
            for work in [*lane.works()][10:]:
                lane.remove(work)
    assert len(lane._flows) < 4000
    while lane.count:
        lane.take(policy, 0.0)
    assert not lane._flows
    assert not lane._batches


def test_who_had_nothing_waiting_has_no_claims_from_before() -> None:
    world = busy()
    for _ in range(50):
        world.send(principal="steady")
    serve(world, 30)
    for _ in range(50):
        world.send(principal="comes")
    had = shares(serve(world, 10))
    assert had == {"comes": 5, "steady": 5}


def test_who_leaves_and_comes_back_has_had_what_it_had() -> None:
    clock = Clock()
    one, other = Account("one", clock), Account("other", clock)
    one.begin()
    other.begin()
    one.charge(100)
    clock.served(0, 100, 2)
    one.less()
    one.begin()
    assert (one.tag, other.tag, clock.now) == (100, 0, 50)


def test_the_clock_runs_no_further_than_the_one_that_was_served() -> None:
    clock = Clock()
    clock.reach(50)
    clock.served(20, 10, waiting=1)
    assert clock.now == 50
    clock.served(45, 10, waiting=1)
    assert clock.now == 55


def test_credit_is_used_before_the_tag_rises_again() -> None:
    account = Account("one", Clock())
    account.charge(10)
    account.charge(-6)
    account.charge(5)
    assert (account.tag, account.credit) == (10, 1)
    account.charge(5)
    assert (account.tag, account.credit) == (14, 0)


def test_who_fits_in_all_groups_does_not_ride_in_the_turns_of_all_others() -> None:
    """`wide` has requests for every key; each of the others leads a group of its own key."""
    world = busy(FOUR)
    for key in range(20):
        for _ in range(40):
            world.send(principal="wide", batch=key)
        world.send(principal=f"p{key}", batch=key)
    world.send(principal="late", batch="late", name="late")
    served = serve(world, 25)
    assert "late" in ids(served)
    had = shares(served[: ids(served).index("late")])
    assert had["wide"] <= 12


def test_a_group_that_was_given_back_goes_first_and_is_paid() -> None:
    world = busy(FOUR)
    for principal in "aaaabbbb":
        world.send(principal=principal)
    serve(world, 1)
    world.exit()
    world.loaded()
    serve(world, 3)
    groups = ["".join(work.principal for work in group.works) for group in world.ran]
    assert groups[2:] == ["abab", "ab", "ab", "abab"]


def test_the_nameless_are_one_principal() -> None:
    world = busy()
    for _ in range(20):
        world.send()
    for _ in range(20):
        world.send(principal="named")
    assert shares(serve(world, 10)) == {"": 5, "named": 5}
