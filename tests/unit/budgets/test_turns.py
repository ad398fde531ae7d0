"""When one who is over a budget has its turn, and for how long it is put off."""

from __future__ import annotations

import pytest

from modelmora.access.budgets import Bucket, Buckets, Costs
from modelmora.budgets.turns import MOST_AHEAD_S, MOST_LINES, Away, Turn, turn_of
from modelmora.messages import Lane
from modelmora.settings.budgets import Budget, Rate

TIERS = {"soon": 30_000, "later": 300_000}
DAY = 86_400.0


def buckets_of(*rates: int) -> tuple[Bucket, ...]:
    """Full ones, of so many a minute."""
    told = {f"b{at}": Budget(requests=Rate(amount=rate)) for at, rate in enumerate(rates)}
    return Buckets(told).of("alice", "m", Lane.NORMAL, 0.0)


def test_the_turn_is_that_of_the_slowest_bucket() -> None:
    fast, slow = buckets_of(600, 60)
    fast.take(600, 0.0)
    slow.take(60, 0.0)
    turn = turn_of((fast, slow), Costs(1.0), {}, 0.0)
    assert (turn.bucket, turn.wait_s) == (slow, 1.0)
    assert turn_of((fast, slow), Costs(1.0), {fast: 100.0}, 0.0).wait_s == pytest.approx(10.1)
    assert turn_of((fast, slow), Costs(1.0), {}, 9.0).wait_s == 0
    assert turn_of((slow,), Costs(1000.0), {}, 0.0).wait_s == 60  # a full one is enough


@pytest.mark.parametrize(
    ("wait_s", "left_s", "tier"),
    [
        (1.0, DAY, "soon"),
        (299.0, DAY, "soon"),
        (300.0, DAY, "later"),
        (9000.0, DAY, "later"),
        (9000.0, 300.0, "soon"),
        (1.0, 30.0, None),
    ],
)
def test_it_is_put_off_for_no_longer_than_it_takes(
    wait_s: float, left_s: float, tier: str | None
) -> None:
    (bucket,) = buckets_of(60)
    assert Away(TIERS).tier(Turn(wait_s, bucket, 1.0), left_s, 0.0) == tier


def test_who_comes_behind_many_comes_back_later_and_the_line_is_not_for_ever() -> None:
    (bucket,) = buckets_of(60)
    away = Away(TIERS)

    def tiers(count: int, now: float) -> list[str | None]:
        return [away.tier(Turn(1.0, bucket, 1.0), DAY, now) for _ in range(count)]

    assert tiers(299, 0.0) == ["soon"] * 299
    assert tiers(5000, 0.0) == ["later"] * 5000
    assert tiers(1, MOST_AHEAD_S) == ["soon"]


def test_lines_that_are_over_are_forgotten() -> None:
    away = Away(TIERS)
    for number in range(2 * MOST_LINES):
        told = {f"b{number}": Budget(requests=Rate(amount=60))}
        (bucket,) = Buckets(told).of("alice", "m", Lane.NORMAL, 0.0)
        away.tier(Turn(1.0, bucket, 1.0), DAY, float(number))
    assert len(away._until) <= MOST_LINES
