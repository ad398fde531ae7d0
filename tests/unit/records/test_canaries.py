"""A canary as the registry tells it: how it begins, goes on and ends, and the route it makes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modelmora.errors import Conflict, Invalid, NotFound
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.records.audited import model_of, reason_of
from modelmora.records.canaries import (
    Canary,
    Standing,
    canaries_of,
    canary_facts,
    canary_in,
    canary_of,
    canary_record,
)
from modelmora.records.routes import route_record
from modelmora.records.stepping import (
    Whose,
    abort,
    canary_over,
    ended,
    follow,
    route_wanted,
    start,
    stepped,
    whose_route,
)
from modelmora.records.verbs import retire, set_route
from modelmora.routing import alone
from modelmora.settings.canaries import CanaryPlan
from modelmora.settings.routes import Route, RouteRule
from tests.unit.records.test_routes import there as registered
from tests.unit.records.test_routes import write

PLAN = CanaryPlan(candidate="2", steps=(5, 50, 100))
NUMBERS = {"candidate_requests": 100.0, "candidate_failed_share": 0.2}
BETA = RouteRule(version="2", header="x-cohort", value="beta")


def there(*versions: str) -> Registry:
    """These versions, of which the first answers."""
    state = registered(*versions)
    write(state, route_record("m", alone(versions[0]), "w"))
    return state


def begun(state: Registry, name: str = "m", plan: CanaryPlan = PLAN) -> Canary:
    """A canary that runs, with its first route."""
    canary = start(state, name, plan, 1000)
    tell(state, canary)
    return canary


def tell(state: Registry, canary: Canary, now_ms: int = 0) -> None:
    """As it stands now, with the route that this makes."""
    write(state, canary_over(state, canary, "w", now_ms), now_ms)
    if record := follow(state, canary, "w", now_ms):
        write(state, record, now_ms)


def weights(state: Registry) -> dict[str, int]:
    return dict(state.told_route("m")[-1][1].weights)


def test_it_goes_through_its_steps_and_is_read_back_as_it_was_told() -> None:
    state = there("1", "2")
    canary = begun(state)
    assert (canary_of(state, "m"), weights(state)) == (canary, {"1": 95, "2": 5})
    seen = [weights(state)]
    while canary.standing is Standing.RUNNING:
        canary = stepped(canary, "not worse", NUMBERS, 2000)
        tell(state, canary)
        assert canaries_of(state) == [canary]
        seen.append(weights(state))
    assert seen == [{"1": 95, "2": 5}, {"1": 50, "2": 50}, {"2": 1}, {"2": 1}]
    assert (canary.standing, canary.percent, canary.at_ms) == (Standing.DONE, 100, 2000)
    assert whose_route(state, canary) is Whose.CANARY
    assert follow(state, canary, "w", 0) is None, "the route is there"


@pytest.mark.parametrize("standing", [Standing.ROLLED_BACK, Standing.ABORTED])
def test_where_it_was_ended_the_baseline_is_alone_and_no_rule_is_left_for_the_candidate(
    standing: Standing,
) -> None:
    state = there("1", "2", "3")
    other = BETA.model_copy(update={"version": "3", "value": "gamma"})
    former = Route(weights={"1": 1}, sticky="principal", rules=(BETA, other))
    write(state, route_record("m", former, "w"))
    canary = begun(state)
    wanted = route_wanted(canary)
    assert wanted
    assert (wanted.sticky, wanted.rules) == ("principal", (BETA, other))
    tell(state, ended(canary, standing, "it fails more", NUMBERS, 2000))
    back = state.told_route("m")[-1][1]
    assert back == Route(weights={"1": 1}, sticky="principal", rules=(other,))


def test_a_person_ends_what_runs_and_nothing_else() -> None:
    state = there("1", "2")
    with pytest.raises(NotFound, match="has no canary"):
        abort(state, "m", 0)
    begun(state)
    tell(state, abort(state, "m", 0))
    assert weights(state) == {"1": 1}
    with pytest.raises(Conflict, match="it is aborted"):
        abort(state, "m", 0)
    assert begun(state).standing is Standing.RUNNING, "another may begin"


def test_a_change_by_another_is_left_as_it_is() -> None:
    state = there("1", "2")
    canary = begun(state)
    for route in (Route(weights={"1": 50, "2": 50}), alone("1"), Route(weights={"1": 95, "2": 5})):
        record = set_route(state, "m", route, "operator")
        assert record
        write(state, record)
        assert whose_route(state, canary) is Whose.OTHERS
        for standing in Standing:
            assert follow(state, replace(canary, standing=standing), "w", 0) is None


def test_one_that_was_told_and_not_followed_yet_is_followed_by_whoever_comes_next() -> None:
    """Its writer died in between: before the first route, and before a roll-back."""
    state = there("1", "2")
    canary = start(state, "m", PLAN, 1000)
    write(state, canary_over(state, canary, "w", 0))
    assert whose_route(state, canary) is Whose.BEFORE
    never = ended(canary, Standing.ABORTED, "", {}, 0)
    assert follow(state, never, "w", 0) is None, "the route was never its own"
    tell(state, canary)
    assert weights(state) == {"1": 95, "2": 5}
    back = ended(canary, Standing.ROLLED_BACK, "", {}, 0)
    write(state, canary_over(state, back, "w", 0))
    record = follow(state, back, "another", 0)
    assert record
    write(state, record)
    assert weights(state) == {"1": 1}


def test_what_cannot_begin_says_why() -> None:
    state = there("1", "2")
    write(state, replace(state.models()[0], version="3", task="other"))
    for plan, error, why in (
        (CanaryPlan(candidate="9"), NotFound, "m@9 is not registered"),
        (CanaryPlan(candidate="1"), Invalid, "answered by 1 already"),
        (CanaryPlan(candidate="3"), Invalid, "3 does other, 1 does t"),
    ):
        with pytest.raises(error, match=why):
            start(state, "m", plan, 0)
    with pytest.raises(NotFound):
        start(state, "nothing", PLAN, 0)
    with pytest.raises(Conflict, match="nobody has told which version answers for m"):
        start(registered("1", "2"), "m", PLAN, 0)
    write(state, route_record("m", Route(weights={"1": 1, "2": 1}), "w"))
    with pytest.raises(Conflict, match="1, 2 share the requests"):
        start(state, "m", PLAN, 0)
    write(state, route_record("m", alone("1"), "w"))
    begun(state)
    with pytest.raises(Conflict, match="runs already, with 2; abort it first"):
        start(state, "m", PLAN, 0)


def test_the_versions_of_one_that_runs_stay() -> None:
    state = there("1", "2", "3")
    canary = begun(state)
    while canary.percent < 100:
        canary = stepped(canary, "", {}, 0)
        tell(state, canary)
    for version in ("1", "2"):
        with pytest.raises(Conflict, match=r"abort it first|answers for"):
            retire(state, "m", version)
    assert not retire(state, "m", "3").present
    tell(state, stepped(canary, "", {}, 0))
    assert not retire(state, "m", "1").present


CANARY = Canary("id", "m", "1", PLAN, alone("1"), 0, 5, why="because", numbers=NUMBERS)
TOLD = json.loads(canary_record(CANARY, "w").details)


WRONG: list[dict[str, Any]] = [
    {"step": 3}, {"step": -1}, {"step": 1e400}, {"standing": "flying"}, {"plan": {}},
    {"plan": None}, {"former": {"weights": {"1": 0}}}, {"numbers": {"a": "b"}}, {"numbers": []},
    {"at_ms": None},
]  # fmt: skip


@pytest.mark.parametrize(
    "details",
    ["", "[]", "null", "{}", "[" * 10_000, *(json.dumps(TOLD | wrong) for wrong in WRONG)],
)
def test_a_record_of_a_stranger_is_no_canary(details: str) -> None:
    record = replace(canary_record(CANARY, "w"), details=details)
    assert canary_in(record) is None
    assert reason_of(record) is None


def test_what_a_newer_release_tells_is_passed_over() -> None:
    more: dict[str, Any] = TOLD | {"new": 1, "plan": TOLD["plan"] | {"new": 1}}
    assert canary_in(replace(canary_record(CANARY, "w"), details=json.dumps(more))) == CANARY


def test_events_and_audit_have_the_numbers() -> None:
    record = canary_record(CANARY, "w")
    assert (record.kind, key_of(record)) == (RegistryKind.CANARY, b"CANARY:m@")
    assert model_of(record) == "m@2"
    said = "running at 5 %: because (candidate_requests=100 candidate_failed_share=0.2)"
    assert reason_of(record) == said
    facts = canary_facts(CANARY)
    assert (facts["step_share"], facts["state"], facts["message"]) == (0.05, "running", "because")
    assert facts.items() >= NUMBERS.items()


def test_a_mark_of_a_stranger_is_none() -> None:
    state = there("1", "2")
    canary = begun(state)
    for details in ("{", "[]", '"id"', "[" * 10_000):
        record = replace(route_record("m", alone("2"), "w"), details=details)
        write(state, record)
        assert whose_route(state, canary) is Whose.OTHERS


def test_a_record_under_another_kind_is_none() -> None:
    state = there("1")
    write(state, RegistryRecord(RegistryKind.CANARY, "m", "2", "", "", "w"))
    assert (canary_of(state, "m"), canaries_of(state)) == (None, [])
