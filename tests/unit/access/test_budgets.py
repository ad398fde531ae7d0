"""Token buckets: what passes, what is owed, and what holds however many use them at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelmora.access import budgets
from modelmora.access.budgets import SHARE, Buckets, Charge, Costs, Over, Spent, Untold
from modelmora.messages import Lane
from modelmora.settings import AccessSettings

ONE = Costs(1.0, 1.0, 1.0, 1.0)
MINUTE = 60.0


def buckets_of(**told: Any) -> Buckets:
    return Buckets(AccessSettings.model_validate({"budgets": told}).budgets)


def requests(amount: int, per: str = "minute", burst: int | None = None) -> dict[str, Any]:
    return {"amount": amount, "per": per, "burst": burst}


def take(
    buckets: Buckets,
    now: float,
    principal: str = "alice",
    model: str = "chat",
    lane: Lane = Lane.NORMAL,
    costs: Costs = ONE,
) -> Charge | Over | Untold:
    return buckets.charge(principal, model, lane, costs, now)


def passed(buckets: Buckets, now: float, tries: int, **more: Any) -> int:
    return sum(isinstance(take(buckets, now, **more), Charge) for _ in range(tries))


def test_a_burst_passes_and_then_what_comes_back() -> None:
    buckets = buckets_of(all={"requests": requests(60, burst=10)})
    assert passed(buckets, 0, 100) == 10
    over = take(buckets, 0)
    assert isinstance(over, Over)
    assert (over.bucket.name, over.wait_s) == ("all.requests", 1.0)
    assert passed(buckets, 0.9, 5) == 0
    assert passed(buckets, 3.0, 100) == 3
    assert passed(buckets, 1000.0, 100) == 10


def test_what_is_refused_takes_nothing() -> None:
    buckets = buckets_of(
        a={"requests": requests(60, burst=5)}, b={"tokens": requests(60, burst=100)}
    )
    assert isinstance(take(buckets, 0, costs=Costs(requests=6.0, tokens=50.0)), Over | Charge)
    assert passed(buckets, 0, 3, costs=Costs(requests=1.0, tokens=1.0)) == 0
    assert [each.left(0) for each in buckets if each.name == "b.tokens"] == [50.0]


@pytest.mark.parametrize(
    ("budget", "principal", "model", "lane", "meant"),
    [
        ({}, "alice", "chat", Lane.LOW, True),
        ({"principals": ["team-*"]}, "team-a", "chat", Lane.LOW, True),
        ({"principals": ["team-*"]}, "alice", "chat", Lane.LOW, False),
        ({"principals": ["*"]}, "topic:mallory", "chat", Lane.LOW, True),
        ({"models": ["chat"]}, "alice", "chat", Lane.LOW, True),
        ({"models": ["chat"]}, "alice", "chat@7", Lane.LOW, True),
        ({"models": ["chat"]}, "alice", "chatter", Lane.LOW, False),
        ({"lanes": ["low"]}, "alice", "chat", Lane.LOW, True),
        ({"lanes": ["low"]}, "alice", "chat", Lane.CRITICAL, False),
    ],
)
def test_whom_a_budget_is_for(
    budget: dict[str, Any], principal: str, model: str, lane: Lane, meant: bool
) -> None:
    buckets = buckets_of(b={"requests": requests(1), **budget})
    assert (passed(buckets, 0, 5, principal=principal, model=model, lane=lane) == 1) is meant


@pytest.mark.parametrize(
    ("each", "alone"),
    [
        ([], {"alice chat NORMAL"}),
        (["principal"], {"alice chat NORMAL", "bob chat NORMAL"}),
        (["model"], {"alice chat NORMAL", "alice draw NORMAL"}),
        (["lane"], {"alice chat NORMAL", "alice chat LOW"}),
        (["principal", "model"],
         {"alice chat NORMAL", "alice draw NORMAL", "bob chat NORMAL", "bob draw NORMAL"}),
    ],
)  # fmt: skip
def test_who_shares_a_budget(each: list[str], alone: set[str]) -> None:
    buckets = buckets_of(b={"requests": requests(1), "each": each})
    found = set()
    for principal in ("alice", "bob"):
        for model in ("chat", "chat@1", "draw"):
            for lane in (Lane.NORMAL, Lane.LOW):
                if isinstance(take(buckets, 0, principal, model, lane), Charge):
                    found.add(f"{principal} {model} {lane.name}")
    assert found == alone


def test_an_outcome_settles_what_was_guessed() -> None:
    buckets = buckets_of(b={"tokens": requests(6000, burst=100)})
    charge = take(buckets, 0, costs=Costs(1, tokens=80))
    assert isinstance(charge, Charge)
    buckets.settle(charge, Costs(1, tokens=10), 0)
    assert charge.buckets[0].left(0) == 90
    buckets.settle(Charge(charge.buckets, Costs()), Costs(1, tokens=290), 0)
    over = take(buckets, 0)
    assert isinstance(over, Over)
    assert over.wait_s == pytest.approx(201 / 100)
    (told,) = buckets.tell(0)
    assert (told.spent, told.owed) == (300, 300)


def test_what_costs_more_than_a_bucket_holds_needs_a_full_one_and_is_owed() -> None:
    buckets = buckets_of(b={"pixels": requests(100, "second", 1000)})
    huge = Costs(1, pixels=3000)
    assert isinstance(take(buckets, 0, costs=huge), Charge)
    assert isinstance(take(buckets, 19.9, costs=Costs(1, pixels=1)), Over)
    assert isinstance(take(buckets, 29.9, costs=huge), Over)
    assert isinstance(take(buckets, 30.0, costs=huge), Charge)


def test_a_request_that_uses_none_of_a_unit_passes_though_it_is_owed() -> None:
    buckets = buckets_of(b={"pixels": requests(10)})
    assert isinstance(take(buckets, 0, costs=Costs(1, pixels=500)), Charge)
    assert isinstance(take(buckets, 0, costs=Costs(1, tokens=5)), Charge)
    assert isinstance(take(buckets, 0, costs=Costs(1, pixels=1)), Over)


def test_what_others_have_used_is_used_here() -> None:
    mine, theirs = (buckets_of(b={"requests": requests(60, burst=10)}) for _ in range(2))
    assert passed(mine, 0, 7) == 7
    for told in mine.tell(0):
        theirs.heard(told.bucket, told.spent, 0.5)
    assert passed(theirs, 0.5, 100) == 3


def test_who_starts_finds_what_is_owed_and_how_long_ago() -> None:
    mine, theirs = (buckets_of(b={"requests": requests(60, burst=10)}) for _ in range(2))
    assert passed(mine, 0, 10) == 10
    (told,) = mine.tell(0)
    theirs.found(told.bucket, told.owed, age_s=4.0, now=100.0)
    assert passed(theirs, 100.0, 100) == 4
    theirs.found(told.bucket, told.owed, age_s=9.0, now=100.0)
    assert passed(theirs, 100.0, 100) == 0


@pytest.mark.parametrize(
    "key",
    ["", "{", "[]", "3", '["b"]', '["c", "requests", "a", null, null]', '[["b"], 1, 2, 3, 4]',
     '["b", "tokens", "a", null, null]', '["b","requests","a",null,null]', "[" * 2000],
)  # fmt: skip
def test_what_is_no_bucket_of_ours_makes_none(key: str) -> None:
    buckets = buckets_of(b={"requests": requests(1)})
    buckets.heard(key, 1.0, 0)
    buckets.found(key, 1.0, 0, 0)
    buckets.landed(key, 1.0)
    buckets.untell(key, 1.0)
    assert [*buckets] == []


def test_a_lie_about_a_budget_shuts_nobody_out_for_longer_than_an_hour() -> None:
    buckets = buckets_of(b={"requests": requests(60)})
    take(buckets, 0)
    (told,) = buckets.tell(0)
    buckets.heard(told.bucket, 1e300, 0)
    buckets.found(told.bucket, 1e300, 0, 0)
    assert passed(buckets, 3601, 1) == 1


def test_beside_others_no_more_than_a_share_is_used_untold() -> None:
    buckets = buckets_of(b={"requests": requests(600)})
    buckets.others = 1
    assert passed(buckets, 0, 600) == 600 * SHARE / 2
    assert isinstance(take(buckets, 0), Untold)
    (told,) = buckets.tell(0)
    assert isinstance(take(buckets, 0), Untold)
    buckets.landed(told.bucket, told.spent)
    assert passed(buckets, 0, 600) == 600 * SHARE / 2


def test_what_was_not_written_is_told_again() -> None:
    buckets = buckets_of(b={"requests": requests(600)})
    passed(buckets, 0, 3)
    (told,) = buckets.tell(0)
    assert buckets.tell(0) == []
    buckets.untell(told.bucket, told.spent)
    assert buckets.tell(0) == [Spent(told.bucket, 3.0, 3.0)]


def test_one_request_at_least_passes_untold_however_many_there_are() -> None:
    buckets = buckets_of(b={"requests": requests(5)})
    buckets.others = 50
    assert passed(buckets, 0, 5) == 1


def test_too_many_buckets_are_forgotten_the_fullest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "MOST_BUCKETS", 100)
    buckets = buckets_of(b={"requests": requests(10)})
    assert passed(buckets, 0, 20, principal="greedy") == 10
    for number in range(1000):
        take(buckets, 0, principal=f"made-up-{number}")
        buckets.tell(0)
    assert len([*buckets]) <= 101
    assert passed(buckets, 0, 20, principal="greedy") == 0


Times = st.lists(
    st.tuples(st.sampled_from([0, 1, 2]), st.floats(0.0, 0.2), st.integers(1, 40)), max_size=120
)


@given(times=Times, amount=st.integers(20, 600), burst=st.integers(1, 600))
def test_several_processes_use_at_most_a_tenth_too_much(
    times: list[tuple[int, float, int]], amount: int, burst: int
) -> None:
    """However they take turns, and though each hears of the others once a second only.

    In a minute: what a bucket holds and what comes back in that time, a tenth of a minute's amount
    or one request each.
    """
    several = [buckets_of(b={"requests": requests(amount, burst=burst)}) for _ in range(3)]
    for each in several:
        each.others = 2
    now, told_at, used, began = 0.0, 0.0, 0, 0.0
    for who, pause_s, tries in times:
        now += pause_s
        if now - told_at >= 1.0:
            told_at = now
            exchange(several, now)
        used += passed(several[who], now, tries)
    most = burst + (now - began) * amount / MINUTE
    assert used <= most + max(SHARE * amount, 2) + 1e-6


def exchange(several: list[Buckets], now: float) -> None:
    for each in several:
        for told in each.tell(now):
            each.landed(told.bucket, told.spent)
            for other in several:
                if other is not each:
                    other.heard(told.bucket, told.spent, now)


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=60),
    st.integers(1, 100),
    st.integers(1, 100),
)
def test_alone_never_more_than_a_burst_and_what_came_back(
    steps: list[tuple[float, int]], amount: int, burst: int
) -> None:
    buckets = buckets_of(b={"requests": requests(amount, "second", burst)})
    now, used = 0.0, 0
    for pause_s, tries in steps:
        now += pause_s
        used += passed(buckets, now, tries)
        assert used <= burst + now * amount + 1e-6


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "it limits nothing"),
        ({"requests": {"amount": 0}}, "greater than or equal to 1"),
        ({"requests": {"amount": 1, "per": "hour"}}, "'second' or 'minute'"),
        ({"requests": {"amount": 1}, "models": []}, "an empty list says nothing"),
        ({"requests": {"amount": 1}, "models": ["chat@1"]}, "match pattern"),
        ({"watts": {"amount": 1}}, "Extra inputs"),
    ],
)
def test_what_is_no_budget_is_refused(told: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        buckets_of(b=told)


def test_other_budgets_count_from_now_on_and_what_was_used_stays_used() -> None:
    buckets = buckets_of(
        kept={"requests": requests(60)},
        raised={"requests": requests(60)},
        lowered={"requests": requests(60)},
        gone={"requests": requests(60)},
        shared={"requests": requests(60)},
    )
    assert passed(buckets, 0, 40) == 40
    told = {
        "kept": {"requests": requests(60)},
        "raised": {"requests": requests(600)},
        "lowered": {"requests": requests(6, burst=50)},
        "shared": {"requests": requests(60), "each": []},
        "new": {"tokens": requests(7)},
    }
    buckets.replace(AccessSettings.model_validate({"budgets": told}).budgets, 0.0)
    take(buckets, 0, costs=Costs())
    left = {each.name: each.left(0.0) for each in buckets}
    assert left == {
        "kept.requests": 20,
        "raised.requests": 560,
        "lowered.requests": 10,
        "shared.requests": 60,
        "new.tokens": 7,
    }
    assert {each.spent for each in buckets.tell(0.0)} == {40}
    buckets.replace({}, 0.0)
    assert [*buckets] == []
    assert isinstance(take(buckets, 0), Charge)
