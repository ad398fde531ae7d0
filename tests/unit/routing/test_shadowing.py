"""Of which requests a route has copies made."""

from __future__ import annotations

from collections import Counter
from math import inf

import pytest

from modelmora.routing import Steps, narrowed, shadowed, shadows
from modelmora.settings.routes import NamedRoute, Route
from tests.unit.routing.test_choosing import Request as Asked

BEFORE = Route(weights={"1": 1})
HALF = Route(weights={"1": 1}, shadow={"2": 50})
STEPS: Steps = ((0, BEFORE), (1000, HALF), (2000, BEFORE))


def ids(count: int) -> list[Asked]:
    return [Asked(request_id=f"r{number}", made_ms=1500) for number in range(count)]


@pytest.mark.parametrize(
    ("since_ms", "found"), [(-inf, True), (500, True), (1999, True), (2000, False), (3000, False)]
)
def test_a_name_is_shadowed_while_that_may_still_come(since_ms: float, found: bool) -> None:
    assert shadowed({"m": STEPS, "other": ((0, BEFORE),)}, since_ms) == ({"m"} if found else set())


@pytest.mark.parametrize(("made_ms", "copied"), [(999, False), (1000, True), (2000, False)])
def test_it_counts_for_what_is_made_then(made_ms: int, copied: bool) -> None:
    all_of_it = Route(weights={"1": 1}, shadow={"2": 100})
    steps: Steps = ((0, BEFORE), (1000, all_of_it), (2000, BEFORE))
    found = shadows("m", steps, Asked(request_id="r", made_ms=made_ms))
    assert found == (("2",) if copied else ())


def test_as_many_percent_as_it_says_and_the_same_ones_each_time() -> None:
    for part in (1, 10, 50):
        steps: Steps = ((0, Route(weights={"1": 1}, shadow={"2": part})),)
        first, again = ([shadows("m", steps, each) for each in ids(10_000)] for _ in range(2))
        assert first == again
        share = Counter(first)[("2",)] / 100
        assert abs(share - part) < 4 * (part * (100 - part) / 10_000) ** 0.5


def test_versions_draw_apart() -> None:
    steps: Steps = ((0, Route(weights={"1": 1}, shadow={"2": 50, "3": 50})),)
    found = Counter(shadows("m", steps, each) for each in ids(4000))
    assert {*found} == {(), ("2",), ("3",), ("2", "3")}
    assert min(found.values()) > 800


def test_what_a_version_answers_itself_is_not_copied_to_it() -> None:
    route = Route(weights={"1": 1, "2": 1}, shadow={"2": 100})
    found = Counter(shadows("m", ((0, route),), each) for each in ids(1000))
    assert {*found} == {(), ("2",)}
    assert 400 < found[()] < 600


def test_what_is_not_there_gets_no_copies() -> None:
    route = Route(weights={"1": 1}, shadow={"2": 10, "3": 20})
    left = narrowed(route, lambda version: version != "3")
    assert left == Route(weights={"1": 1}, shadow={"2": 10})
    assert narrowed(route, lambda _: True) is route


def test_a_file_says_it_too() -> None:
    told = NamedRoute(name="m", weights={"1": 1}, shadow={"2": 10})
    assert told.route == Route(weights={"1": 1}, shadow={"2": 10})


@pytest.mark.parametrize("part", [0, 101, -1, 1.5, True, "10"])
def test_a_part_is_a_whole_percent(part: object) -> None:
    with pytest.raises(ValueError, match="shadow"):
        Route.model_validate({"weights": {"1": 1}, "shadow": {"2": part}})
