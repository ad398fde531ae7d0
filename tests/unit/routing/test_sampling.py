"""Which outcomes say what of which step of a route."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelmora.errors import Code
from modelmora.messages import ErrorInfo, ResultHead, Source, Timings, outcome_status
from modelmora.messages.inference import Status
from modelmora.routing.canary import Seen
from modelmora.routing.sampling import MOST, MOST_STEPS, Sampling

SINCE = 5000


def outcome(
    request_id: str = "a", version: str = "2", code: Code | None = None, **more: Any
) -> ResultHead:
    status = outcome_status(code) if code else Status.COMPLETED
    told: dict[str, Any] = {
        "settings": {"route": f"weights since {SINCE}"},
        "timings": Timings(4.0, 100.0, 6.0, 110.0),
        "error": ErrorInfo(code, "no") if code else None,
    }
    where = (request_id, status, "m", version, Source("t", 0, 0))
    return ResultHead(*where, **(told | more))


@pytest.fixture
def sampling() -> Sampling:
    return Sampling("m")


def test_versions_are_told_apart_and_loading_is_no_latency(sampling: Sampling) -> None:
    sampling.take(outcome("a"), SINCE)
    sampling.take(outcome("b", timings=Timings(total_ms=3.0)), SINCE)
    sampling.take(outcome("c", code=Code.INFERENCE_FAILED), SINCE)
    sampling.take(outcome("d", version="1"), SINCE)
    assert sampling.seen("2", SINCE) == Seen(3, 1, [3.0, 10.0])
    assert sampling.seen("1", SINCE) == Seen(1, 0, [10.0])
    assert sampling.seen("3", SINCE) == sampling.seen("2", 1) == Seen(0, 0, [])


def test_an_id_counts_once(sampling: Sampling) -> None:
    for _ in range(3):
        sampling.take(outcome("a"), SINCE)
    sampling.take(outcome("a", code=Code.INFERENCE_FAILED), SINCE)
    assert sampling.seen("2", SINCE) == Seen(1, 0, [10.0])


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        (Code.INFERENCE_FAILED, True),
        (Code.MODEL_UNAVAILABLE, True),
        (Code.EXPIRED, True),
        (Code.INVALID_INPUT, True),
        (Code.CANCELLED, False),
        (Code.BUSY, False),
        (Code.FORBIDDEN, False),
        (Code.RATE_LIMITED, False),
        (Code.ID_REUSED, False),
    ],
)
def test_what_a_caller_wished_or_might_not_is_no_fault_of_a_version(
    sampling: Sampling, code: Code, counts: bool
) -> None:
    sampling.take(outcome(code=code), SINCE)
    assert sampling.seen("2", SINCE).failed == counts


@pytest.mark.parametrize(
    "more",
    [
        {"model": "other"},
        {"version": ""},
        {"settings": {"route": f"rule 1 since {SINCE}"}},
        {"settings": {"route": "weights since"}},
        {"settings": {"route": "weights since -1"}},
        {"settings": {"route": "weights since ²"}},
        {"settings": {"route": "weights since " + "9" * 5000}},
        {"settings": {"route": 5}},
    ],
)
def test_what_was_not_chosen_by_weight_says_nothing(
    sampling: Sampling, more: dict[str, Any]
) -> None:
    sampling.take(replace(outcome(), **more), SINCE)
    assert sampling.seen("2", SINCE) == sampling.seen_alone("2", 0) == Seen(0, 0, [])


def test_what_only_one_could_answer_counts_by_when_it_was_made(sampling: Sampling) -> None:
    for made_ms in (SINCE - 1, SINCE, SINCE + 1):
        sampling.take(outcome(str(made_ms), settings={}), made_ms)
    assert sampling.seen_alone("2", SINCE) == Seen(2, 0, [10.0, 10.0])
    assert sampling.seen("2", SINCE) == Seen(0, 0, [])


def test_no_more_is_kept_than_that(sampling: Sampling) -> None:
    for number in range(MOST + 10):
        sampling.take(outcome(str(number), code=Code.INFERENCE_FAILED if number < 10 else None), 0)
    seen = sampling.seen("2", SINCE)
    assert (seen.requests, seen.failed) == (MOST, 0), "the oldest have gone"
    for since in range(SINCE + 1, SINCE + 1 + MOST_STEPS):
        sampling.take(outcome(settings={"route": f"weights since {since}"}), 0)
    assert sampling.seen("2", SINCE).requests == 0
    sampling.take(outcome(), SINCE)
    assert sampling.seen("2", SINCE).requests == 0, "of a step long ago nothing is kept anew"
