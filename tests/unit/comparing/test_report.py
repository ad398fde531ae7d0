"""What a comparison says of pairs: their measures, what they took, and the worst by their ids."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelmora.comparing import MEASURES, Answer, Asked, Comparison, Needs, Report, Spread
from modelmora.comparing.page import page
from modelmora.comparing.told import rows, warning
from modelmora.errors import Code
from modelmora.messages import InferenceResult
from tests.unit.comparing.outcomes import classes, failed, outcome, scores, vectors
from tests.unit.comparing.test_measures import png

ASKED = Asked("m@1", "m@2", needs=(Needs(1000, 0, 50.0), Needs()))


def report(*pairs: tuple[InferenceResult, InferenceResult], worst: int = 20) -> Report:
    comparison = Comparison(ASKED)
    for number, (baseline, candidate) in enumerate(pairs):
        comparison.take(f"id-{number}", Answer.of(baseline), Answer.of(candidate))
    return comparison.report(worst)


def test_a_spread_is_by_nearest_rank_and_worst_is_what_is_worse() -> None:
    values = [float(each) for each in range(1, 101)]
    assert Spread.of(values, more_is_better=False) == Spread(100, 50.5, 50, 95, 100)
    assert Spread.of(values, more_is_better=True) == Spread(100, 50.5, 51, 6, 1)
    assert Spread.of([], more_is_better=True) is None
    assert Spread.of([3.0], more_is_better=True) == Spread(1, 3, 3, 3, 3)


def test_what_pairs_say_together() -> None:
    found = report(
        (outcome("abcd"), outcome("abcd")),
        (outcome("abcd"), outcome("abxx")),
        (outcome("abcd"), failed(Code.WORKER_CRASH)),
        (outcome("abcd"), outcome(vectors((1, 0)))),
        (outcome("abcd"), failed(Code.BUSY)),
        (failed(Code.EXPIRED), outcome("abcd")),
    )
    assert found.pairs == 4
    assert found.agreement == Spread(4, 0.375, 0.5, 0, 0)
    assert found.measures["edits"] == Spread(2, 1, 0, 2, 2)
    assert found.measures["same"].mean == 0.5
    assert found.left_out == {"candidate busy": 1, "baseline expired": 1}
    assert found.unlike == {"worker_crash": 1, "vectors, not texts": 1}
    assert found.baseline.ended == {"completed": 5, "expired": 1}
    assert found.candidate.ended == {"completed": 4, "worker_crash": 1, "busy": 1}
    assert found.kinds == {"texts": 3}
    assert found.baseline.needs == Needs(1000, 0, 50.0)


def test_only_what_both_answered_says_how_long_they_take() -> None:
    found = report(
        (outcome("a", ms=10), outcome("a", ms=15)),
        (outcome("a", ms=20), outcome("a", ms=60)),
        (outcome("a", ms=1000), failed(Code.WORKER_CRASH, ms=1)),
    )
    assert found.baseline.device_ms == Spread(2, 15, 10, 20, 20)
    assert found.candidate.device_ms == Spread(2, 37.5, 15, 60, 60)
    assert found.slower == (1.5, 3)


def test_the_curve_goes_from_the_worst_to_the_best() -> None:
    pairs = [(outcome("abcd"), outcome("abcd"[:keep])) for keep in (4, 0, 2, 4, 4)]
    curve = report(*pairs).curve
    assert len(curve) == 21
    assert (curve[0], curve[5], curve[-1]) == (0, 0.5, 1)
    assert list(curve) == sorted(curve)
    assert report().curve == ()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("agreement", 1.0, "100.0%"),
        ("agreement", 0.9999999, "99.999%"),
        ("agreement", 0.987654, "98.765%"),
        ("same", 0.5, "50.0%"),
        ("cosine", 0.999, "0.99900"),
        ("edits", 12.5, "12.5"),
        ("size", 1.204, "120%"),
        ("score_moved", 0.00123456, "0.00123"),
    ],
)
def test_numbers_are_told_so(name: str, value: float, told: str) -> None:
    assert MEASURES[name].told(value) == told


def test_times_of_callers_batches_are_not_held_against_those_of_copies() -> None:
    comparison = Comparison(ASKED)
    for number, alone in enumerate((False, False, True)):
        baseline = Answer.of(outcome("a", ms=1000 / (1 + 99 * alone)), alone=alone)
        comparison.take(f"id-{number}", baseline, Answer.of(outcome("a", ms=20), alone=True))
    # Only one of the three was measured alike on both sides.
    found = comparison.report()
    assert found.alike
    assert found.slower == (2, 2)
    assert found.baseline.device_ms == Spread(1, 10, 10, 10, 10)
    comparison = Comparison(ASKED)
    comparison.take("a", Answer.of(outcome("a")), Answer.of(outcome("a"), alone=True))
    found = comparison.report()
    assert (found.alike, found.slower) == (False, None)
    assert found.baseline.device_ms == Spread(1, 10, 10, 10, 10)
    assert "cannot be compared" in warning(found)
    assert [row.ratio for row in rows(found) if row.name.startswith("device")] == [None] * 3
    assert "cannot be compared" in page(found)


def test_what_took_no_time_has_no_ratio() -> None:
    assert report((outcome("a", ms=0), outcome("a", ms=1))).slower is None
    assert report().slower is None
    assert report().agreement is None


def test_the_least_agreement_is_the_worst_and_of_equal_ones_the_slowest() -> None:
    found = report(
        (outcome("abcd", ms=1), outcome("abcd", ms=2)),
        (outcome("abcd"), outcome("abxx")),
        (outcome("abcd"), failed(Code.WORKER_CRASH)),
        (outcome("abcd", ms=1), outcome("abcd", ms=9)),
        worst=3,
    )
    assert [each.request_id for each in found.worst] == ["id-2", "id-1", "id-3"]
    assert found.worst[0].why == "worker_crash"
    assert found.worst[1].measures["edits"] == 2
    assert (found.worst[2].baseline_ms, found.worst[2].candidate_ms) == (1, 9)


def test_tokens_and_pixels_are_means_of_a_request() -> None:
    found = report(
        (
            outcome("a", settings={"prompt_tokens": 3, "completion_tokens": 5}),
            outcome("a", settings={"prompt_tokens": 3, "completion_tokens": 9}),
        ),
        (outcome("a"), outcome("a")),
    )
    assert (found.baseline.tokens, found.candidate.tokens) == (4, 6)
    assert found.baseline.pixels is None


def test_what_is_left_out_is_counted() -> None:
    comparison = Comparison(ASKED)
    comparison.leave_out("no outcome in time", 3)
    comparison.leave_out("no outcome in time")
    assert comparison.report().as_json()["left_out"] == {"no outcome in time": 4}


SECRET = "geheim und noch etwas"


@pytest.mark.parametrize(
    "pair",
    [
        (outcome(SECRET), outcome(SECRET + "!")),
        (outcome(*classes({SECRET: 0.5})), outcome(*classes({SECRET + "!": 0.5}))),
        (outcome(png(1)), outcome(png(2))),
        (outcome(SECRET), failed(Code.WORKER_CRASH)),
        (outcome(scores(0.123456789)), outcome(scores(0.5))),
    ],
)
def test_nothing_of_what_was_answered_is_in_it(pair: tuple[Any, Any]) -> None:
    comparison = Comparison(ASKED)
    comparison.take("the-id", *map(Answer.of, pair))
    told = json.dumps(comparison.report().as_json()) + repr(comparison.report())
    assert "the-id" in told
    assert "geheim" not in told
    assert "did not work" not in told
    assert not any(answer.parts for _, *answers, _ in comparison._seen for answer in answers)


def test_the_json_has_a_form_that_stays() -> None:
    told = report((outcome("a"), outcome("b"))).as_json()
    assert told["form"] == 1
    assert list(told) == [
        "form", "baseline", "candidate", "comparison", "since_ms", "until_ms", "sample", "task",
        "kinds", "pairs", "left_out", "unlike", "agreement_curve", "measures",
        "device_ms_alike", "device_ms_ratio", "worst",
    ]  # fmt: skip
    assert list(told["candidate"]) == [
        "model", "ended", "device_ms", "tokens", "pixels", "memory_bytes", "gpu_bytes", "load_ms",
    ]  # fmt: skip
    assert told["measures"].keys() <= MEASURES.keys()
    assert list(told["worst"][0]) == [
        "request_id", "agreement", "measures", "why", "baseline_ms", "candidate_ms",
    ]  # fmt: skip


def test_every_measure_has_a_name() -> None:
    png_pair = (outcome(png(1)), outcome(png(2)))
    pairs = [png_pair, (outcome(scores(0.5)), outcome(scores(0.25)))]
    told = {name for pair in pairs for name in report(pair).worst[0].measures}
    assert told <= MEASURES.keys()
