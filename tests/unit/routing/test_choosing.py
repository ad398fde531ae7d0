"""Which version a route chooses: by rules, by weight, and the same one for an id for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelmora.messages import Lane, Parameter
from modelmora.routing import Steps, all_narrowed, alone, choose, main_version, narrowed, shared
from modelmora.routing.choosing import step_at
from modelmora.settings.routes import NamedRoute, Route


@dataclass
class Request:
    request_id: str = "r"
    made_ms: int = 0
    principal: str = "local"
    lane: Lane = Lane.NORMAL
    given: Mapping[str, Parameter] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


def route(**told: Any) -> Route:
    return Route.model_validate({"weights": {"1": 50, "2": 50}, **told})


def version(told: Route, request: Request) -> str:
    return choose("m", ((0, told),), request).version


RULES = [
    {"header": "x-cohort", "value": "beta", "version": "2"},
    {"header": "x-cohort", "lane": "low", "version": "3"},
    {"lane": "low", "version": "1"},
    {"header": "x-any", "version": "4"},
]


@pytest.mark.parametrize(
    ("request_", "answers", "reason"),
    [
        (Request(headers={"x-cohort": "beta"}), "2", "rule 1 since 7"),
        (Request(headers={"x-cohort": "beta"}, lane=Lane.LOW), "2", "rule 1 since 7"),
        (Request(headers={"x-cohort": "alpha"}, lane=Lane.LOW), "3", "rule 2 since 7"),
        (Request(headers={"x-cohort": "alpha"}), "9", "weights since 7"),
        (Request(lane=Lane.LOW), "1", "rule 3 since 7"),
        (Request(headers={"x-any": ""}), "4", "rule 4 since 7"),
        (Request(), "9", "weights since 7"),
    ],
)
def test_the_first_rule_that_fits_answers(request_: Request, answers: str, reason: str) -> None:
    told = Route.model_validate({"weights": {"9": 1}, "rules": RULES})
    assert choose("m", ((7, told),), request_) == (answers, reason)


def test_where_one_version_answers_all_nothing_is_said_of_why() -> None:
    assert choose("m", ((7, alone("2")),), Request()) == ("2", "")
    weighed = route(weights={"1": 0, "2": 5})
    assert choose("m", ((0, weighed),), Request()) == ("2", "")


def test_shares_are_as_the_weights_say() -> None:
    told = route(weights={"1": 90, "2": 9, "3": 1, "4": 0})
    found = Counter(version(told, Request(f"id-{n}")) for n in range(20_000))
    assert found.keys() == {"1", "2", "3"}
    # Five standard deviations of a binomial share.
    assert abs(found["1"] - 18_000) < 5 * 43
    assert abs(found["2"] - 1_800) < 5 * 41
    assert abs(found["3"] - 200) < 5 * 15


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), min_size=2),
    st.sampled_from("abcdef"),
    st.integers(1, 50),
)
def test_where_a_weight_grows_keys_move_to_it_alone(
    weights: dict[str, int], grown: str, by: int
) -> None:
    if not any(weights.values()):
        weights[min(weights)] = 1
    after = {**weights, grown: weights.get(grown, 0) + by}
    for number in range(200):
        was, now = (shared("m", each, f"k{number}") for each in (weights, after))
        assert now in (was, grown)


STICKY = ["principal", "header:x-user", "parameter:user"]


@pytest.mark.parametrize("sticky", STICKY)
def test_what_it_sticks_to_decides_alone(sticky: str) -> None:
    told = route(sticky=sticky)
    answers = set()
    for who in range(40):
        known: dict[str, Any] = {
            "principal": f"p{who}",
            "headers": {"x-user": f"h{who}"},
            "given": {"user": f"q{who}"},
        }
        versions = {version(told, Request(f"id-{n}", n, **known)) for n in range(20)}
        assert len(versions) == 1
        answers |= versions
    assert answers == {"1", "2"}


@pytest.mark.parametrize("sticky", STICKY)
def test_who_lacks_what_it_sticks_to_goes_by_id(sticky: str) -> None:
    found = {version(route(sticky=sticky), Request(f"id-{n}")) for n in range(40)}
    assert found == {"1", "2"}


def test_two_names_are_no_copies_of_each_other() -> None:
    told = route(sticky="principal")
    asked = [Request(principal=f"p{n}") for n in range(200)]
    same = sum(choose("a", ((0, told),), r)[0] == choose("b", ((0, told),), r)[0] for r in asked)
    assert 50 < same < 150


def test_a_choice_is_pinned() -> None:
    """Another release must choose the same: ids that are under way meet both."""
    told = route(weights={"1": 3, "2": 1})
    found = "".join(version(told, Request(f"id-{n}")) for n in range(32))
    assert found == PINNED


PINNED = "11112221111111111121212112221222"


def test_the_step_of_a_request_is_that_of_its_time() -> None:
    steps: Steps = ((5, alone("1")), (9, alone("2")))
    assert [step_at(steps, at)[1] for at in (0, 5, 8, 9, 99)] == [
        alone("1"), alone("1"), alone("1"), alone("2"), alone("2")
    ]  # fmt: skip
    assert [choose("m", steps, Request(made_ms=at)).version for at in (8, 9)] == ["1", "2"]


def test_what_is_not_there_answers_nothing() -> None:
    told = route(weights={"1": 1, "2": 9}, rules=[{"lane": "low", "version": "3"}])
    assert narrowed(told, lambda _: True) is told
    assert narrowed(told, lambda each: each != "2") == Route.model_validate(
        {"weights": {"1": 1}, "rules": [{"lane": "low", "version": "3"}]}
    )
    assert narrowed(told, {"1"}.__contains__) == alone("1")
    assert narrowed(told, {"3"}.__contains__) is None, "there is nothing to weigh"


def test_what_waits_for_a_version_that_goes_is_answered_by_the_last_that_is_there() -> None:
    steps: Steps = ((0, alone("1")), (5, alone("2")), (9, route()))
    assert all_narrowed(steps, {"2"}.__contains__) == (
        (0, Route(weights={"2": 50})),
        (5, alone("2")),
        (9, Route(weights={"2": 50})),
    )
    assert all_narrowed(steps, lambda _: False) == ()


def test_the_main_version_is_the_one_that_answers_most() -> None:
    assert main_version(route(weights={"b": 5, "a": 5, "c": 1})) == "a"
    assert main_version(route(weights={"a": 1, "c": 2})) == "c"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"weights": {}}, "at least 1 item"),
        ({"weights": {"1": 0}}, "at least one is above 0"),
        ({"weights": {"1": -1}}, "greater than or equal to 0"),
        ({"weights": {"1": 1.5}}, "valid integer"),
        ({"weights": {"1": True}}, "valid integer"),
        ({"weights": {"a b": 1}}, "match pattern"),
        ({"weights": {str(n): 1 for n in range(17)}}, "at most 16 items"),
        ({"sticky": "cookie"}, "match pattern"),
        ({"sticky": "header:"}, "match pattern"),
        ({"sticky": "header:authorization"}, "a meaning of its own"),
        ({"rules": [{"version": "2"}]}, "a header, a lane or both"),
        ({"rules": [{"version": "2", "lane": "low", "value": "x"}]}, "name the header"),
        ({"rules": [{"version": "2", "lane": "slow"}]}, "'low'"),
        ({"rules": [{"version": "2", "header": "X-Upper"}]}, "match pattern"),
        ({"rules": [{"version": "2", "header": "cookie"}]}, "a meaning of its own"),
        ({"rules": [{"version": "2", "header": "modelmora-principal"}]}, "a meaning of its own"),
        ({"rules": [{"version": "2", "lane": "low"}] * 17}, "at most 16 items"),
        ({"wieghts": {"1": 1}}, "not permitted"),
    ],
)
def test_a_route_that_cannot_be_meant_says_why(told: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Route.model_validate({"weights": {"1": 1}, **told})


def test_the_headers_that_a_route_looks_at() -> None:
    told = route(rules=RULES, sticky="header:x-user")
    assert told.headers == {"x-any", "x-cohort", "x-user"}
    assert told.versions == {"1", "2", "3", "4"}
    assert NamedRoute(name="m", **told.model_dump()).route == told
