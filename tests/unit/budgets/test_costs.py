"""What a request is charged before anybody knows, and what its outcome says."""

from __future__ import annotations

from typing import Any

import pytest

from modelmora.access.budgets import Costs
from modelmora.budgets.costs import NO_ROOM, Expected, used_by
from modelmora.errors import Code
from modelmora.gateway.outcomes import answer_of
from modelmora.messages import ChatMessage, Content, InferenceResult, Source, Status, Timings


def outcome(settings: dict[str, Any], images: int = 1, inference_ms: float = 7.0) -> Costs:
    return used_by(
        InferenceResult(
            "id",
            Status.COMPLETED,
            "m",
            "1",
            Source("t", 0, 0),
            settings=settings,
            timings=Timings(inference_ms=inference_ms),
            outputs=(b"",) * images,
        )
    )


@pytest.mark.parametrize(
    ("settings", "images", "used"),
    [
        ({}, 1, Costs(1, 0, 0, 7)),
        ({"prompt_tokens": 12, "completion_tokens": 30}, 1, Costs(1, 42, 0, 7)),
        ({"size": "512x256"}, 3, Costs(1, 0, 3 * 512 * 256, 7)),
        ({"size": "big", "prompt_tokens": "many", "completion_tokens": -5}, 1, Costs(1, 0, 0, 7)),
        ({"prompt_tokens": True}, 1, Costs(1, 0, 0, 7)),
    ],
)
def test_what_an_outcome_says(settings: dict[str, Any], images: int, used: Costs) -> None:
    assert outcome(settings, images) == used


@pytest.mark.parametrize(
    ("inputs", "parameters", "costs"),
    [
        ((b"\0",), {}, Costs(1, 1, 1, 1)),
        (("x" * 40,), {}, Costs(1, 10, 1, 1)),
        ((ChatMessage("user", "x" * 40),), {"max_tokens": 90}, Costs(1, 100, 1, 1)),
        (("x", "y"), {"size": "64x64"}, Costs(1, 1, 2 * 64 * 64, 1)),
        (("x",), {"max_tokens": -(10**9), "size": "-5x5"}, Costs(1, 1, 1, 1)),
        (("x",), {"max_tokens": True, "size": "9999999x9"}, Costs(1, 1, 1, 1)),
    ],
)
def test_what_is_charged_of_a_model_that_nobody_has_seen(
    inputs: tuple[Content, ...], parameters: dict[str, Any], costs: Costs
) -> None:
    assert Expected().of("m", inputs, parameters) == costs


def test_what_is_charged_comes_to_what_outcomes_tell() -> None:
    expected = Expected()
    expected.learn("m", Costs(1, 10, 0, 100))
    assert expected.of("m@2", ("x",), {}) == Costs(1, 10, 0, 100)
    for _ in range(50):
        expected.learn("m", Costs(1, 20, 0, 50))
    assert expected.of("m", ("x",), {})[1:] == pytest.approx((20, 0, 50), rel=0.01)
    assert expected.of("m", ("x",), {"size": "9x9"}).pixels == 0
    assert expected.of("m", ("xxxx",), {"max_tokens": 500}).tokens == 501


def test_only_so_many_models_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelmora.budgets.costs.MOST_MODELS", 2)
    expected = Expected()
    for name in "abc":
        expected.learn(name, Costs(1, 5, 5, 5))
    assert [expected.of(name, (b"",), {}).device_ms for name in "abc"] == [5, 5, 1]


def test_what_nobody_had_room_for_is_what_callers_are_told_503_of() -> None:
    assert {each for each in Code if answer_of(each).http == 503} == NO_ROOM
