"""What is made of a candidate's outcomes: a table, and how seldom an equal one is worse."""

from __future__ import annotations

import random
from bisect import insort

import pytest
from pydantic import ValidationError

from modelmora.routing.bounds import (
    least_difference,
    least_quantile,
    most_quantile,
    quantile,
    wilson,
    z_of,
)
from modelmora.routing.canary import SLACK_MS, Seen, Verdict, decide
from modelmora.settings.canaries import CanaryPlan

PLAN = CanaryPlan(candidate="2", hold_s=60, samples=100)
Z95 = z_of(0.975)


def seen(requests: int, failed: int = 0, ms: float = 20.0) -> Seen:
    """Latencies from half to one and a half of `ms`."""
    done = requests - failed
    return Seen(requests, failed, [ms * (0.5 + number / max(done, 1)) for number in range(done)])


@pytest.mark.parametrize(
    ("candidate", "baseline", "held_s", "verdict", "why"),
    [
        (seen(0), seen(0), 600, "wait", "the candidate has 0 of 100 outcomes"),
        (seen(99, 99), seen(900), 600, "wait", "the candidate has 99 of 100 outcomes"),
        (seen(100), seen(99), 600, "wait", "the baseline has 99 of 100 outcomes"),
        (seen(100), seen(900), 59, "wait", "not worse so far; held for 59 of 60 s"),
        (seen(100), seen(900), -3, "wait", "not worse so far; held for 0 of 60 s"),
        (seen(100), seen(900), 60, "go_on", "not worse, held for 60 s"),
        (seen(100, 20), seen(900, 9), 1, "roll_back", "it fails more: 20 of 100 against 9 of 900"),
        (seen(100, 100), seen(900), 1, "roll_back", "it fails more: 100 of 100 against 0 of 900"),
        (seen(100, 100), seen(900, 900), 60, "go_on", "not worse"),
        (seen(100, 0), seen(900, 500), 60, "go_on", "not worse"),
        (seen(100, 3), seen(900, 9), 60, "go_on", "not worse"),
        (seen(400, 0, 60), seen(900), 1, "roll_back", "it is slower: p50 is"),
        (seen(400, 0, 23), seen(900), 60, "go_on", "not worse"),
        (seen(400, 0, 10), seen(900), 60, "go_on", "not worse"),
        (seen(400, 0, 3), seen(900, 0, 1), 60, "go_on", "not worse"),
    ],
)
def test_what_is_made_of_what_was_seen(
    candidate: Seen, baseline: Seen, held_s: float, verdict: str, why: str
) -> None:
    found = decide(PLAN, candidate, baseline, held_s)
    assert (found.verdict, found.why[: len(why)]) == (verdict, why)


def test_a_long_tail_is_slower_too() -> None:
    tail = sorted([20.0] * 360 + [400.0] * 40)
    found = decide(PLAN, Seen(400, 0, tail), Seen(900, 0, [20.0] * 900), 1)
    assert (found.verdict, found.why[:20]) == (Verdict.ROLL_BACK, "it is slower: p95 is")


def test_what_is_allowed_is_not_worse() -> None:
    lenient = PLAN.model_copy(update={"more_errors": 0.5, "slower": 10.0})
    assert decide(lenient, seen(200, 60, 60), seen(900), 60).verdict is Verdict.GO_ON
    assert 20 * PLAN.slower + SLACK_MS < 60, "which the other plan does not allow"


def test_what_answers_otherwise_is_rolled_back_where_that_was_asked() -> None:
    asks = PLAN.model_copy(update={"agreement": 0.9})
    same = (asks, seen(100), seen(900), 60)
    assert decide(*same, [1.0] * 99).why == "99 of 100 pairs of answers have come"
    good = decide(*same, [1.0] * 90 + [0.0] * 10)
    assert (good.verdict, good.numbers["agreement_share"]) == (Verdict.GO_ON, 0.9)
    bad = decide(*same, [1.0] * 89 + [0.0] * 11)
    assert bad.verdict is Verdict.ROLL_BACK
    assert bad.why == "it answers otherwise: agreement is 0.890 where 0.9 is asked"
    assert decide(PLAN, *same[1:], [0.0] * 100).verdict is Verdict.GO_ON, "nobody has asked"


def test_the_numbers_are_told() -> None:
    assert decide(PLAN, seen(100, 20), seen(900, 9), 1).numbers == {
        "candidate_requests": 100,
        "candidate_failed_share": 0.2,
        "candidate_p50_ms": 19.8,
        "candidate_p95_ms": 28.8,
        "baseline_requests": 900,
        "baseline_failed_share": 0.01,
        "baseline_p50_ms": 20.0,
        "baseline_p95_ms": 29.0,
        "worse_least_share": 0.1127,
    }
    assert decide(PLAN, Seen(), Seen(), 1).numbers == {
        "candidate_requests": 0,
        "baseline_requests": 0,
    }


def test_bounds_are_those_of_the_books() -> None:
    """Newcombe (1998), table II: 56/70 against 48/80 is 0.0524 to 0.3339 at 95 %."""
    assert least_difference((56, 70), (48, 80), Z95) == pytest.approx(0.0524, abs=1e-4)
    assert -least_difference((48, 80), (56, 70), Z95) == pytest.approx(0.3339, abs=1e-4)
    assert wilson(10, 100, Z95) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    low, high = wilson(0, 10, Z95)
    assert (low, high) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_a_bound_of_a_quantile_holds_as_often_as_it_says() -> None:
    rnd, z, level, true = random.Random(5), z_of(0.95), 0.9, 0.9
    draws = [sorted(rnd.random() for _ in range(200)) for _ in range(400)]
    least = [least_quantile(each, level, z) for each in draws]
    most = [most_quantile(each, level, z) for each in draws]
    assert sum(each is not None and each <= true for each in least) >= 0.93 * len(draws)
    assert sum(each is not None and each >= true for each in most) >= 0.93 * len(draws)
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0


def test_too_few_have_no_bound() -> None:
    assert least_quantile([], 0.5, Z95) is None
    assert most_quantile([1.0, 2.0], 0.95, Z95) is None
    assert least_quantile([1.0, 2.0], 0.05, Z95) is None


def test_an_equal_candidate_is_seldom_rolled_back_however_often_it_is_looked_at() -> None:
    """60 looks at each of 60 canaries of a hold, at 5 % of 5 requests a second."""
    rolled = 0
    for seed in range(60):
        rnd, counts = random.Random(seed), {True: [0, 0], False: [0, 0]}
        times: dict[bool, list[float]] = {True: [], False: []}
        for look in range(1, 61):
            for _ in range(50):
                new = rnd.random() < 0.05
                counts[new][0] += 1
                if rnd.random() < 0.05:
                    counts[new][1] += 1
                else:
                    insort(times[new], rnd.lognormvariate(3, 0.8))
            of_new, of_old = (
                Seen(counts[each][0], counts[each][1], times[each]) for each in (True, False)
            )
            plan = PLAN.model_copy(update={"hold_s": 600})
            if decide(plan, of_new, of_old, look * 10).verdict is Verdict.ROLL_BACK:
                rolled += 1
                break
    assert rolled <= 4


@pytest.mark.parametrize("steps", [(), (5, 50), (50, 5, 100), (5, 5, 100), (0, 100), (5, 101)])
def test_steps_rise_to_the_whole(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="steps"):
        CanaryPlan(candidate="2", steps=steps)
