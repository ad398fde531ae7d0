"""How a name is answered, as the registry tells it: an id as it was, whoever works it out."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.errors import Conflict, Invalid, NotFound, Stale
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.records.changes import LAG_MS, LEAST_LAG_MS, MOST_LAG_MS, RECENT_MS
from modelmora.records.routes import route_facts, route_record, steps_in, told, with_route
from modelmora.records.verbs import activate, retire, set_route
from modelmora.routing import alone
from modelmora.routing.choosing import step_at
from modelmora.settings.routes import Route
from modelmora.wire import decode_registry, encode_registry

MODEL = RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w")
HALF = Route(weights={"1": 1, "2": 1})


def write(state: Registry, record: RegistryRecord, now_ms: int = 0) -> RegistryRecord:
    """Write over what counts, as whoever writes does, and read it."""
    before = state.entries.get(key_of(record))
    written = replace(state.settled(record, now_ms), based_on=before.offset if before else None)
    offset = 1 + max((each.offset for each in state.entries.values()), default=0)
    state.take(key_of(written), decode_registry(encode_registry(written)), offset)
    return written


def there(*versions: str, task: str = "t") -> Registry:
    state = Registry()
    for version in versions:
        write(state, replace(MODEL, version=version, task=task))
    return state


def test_the_first_route_of_a_name_counts_from_the_beginning() -> None:
    state = there("1", "2")
    write(state, route_record("m", alone("2"), "w"), 5000)
    assert state.routes() == {"m": ((0, alone("2")),)}
    assert state.active() == {"m": "2"}


def test_the_first_route_that_is_set_leaves_ids_from_before_to_the_lowest_version() -> None:
    state = there("1", "2")
    since_ms = time.time() * 1000
    record = set_route(state, "m", HALF, "w")
    assert record
    write(state, record)
    before, (at, route) = state.routes()["m"]
    assert (before, route) == ((0, alone("1")), HALF)
    assert at >= int(since_ms) + LAG_MS
    assert set_route(state, "m", HALF, "w") is None


@pytest.mark.parametrize("versions", [("1",), ("1", "2")])
def test_the_first_route_that_changes_nothing_counts_from_the_beginning(
    versions: tuple[str, ...],
) -> None:
    state = there(*versions)
    record = set_route(state, "m", alone("1"), "w")
    assert record
    write(state, record, 5000)
    assert state.routes() == {"m": ((0, alone("1")),)}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 5000, 90_000, 500_000]),
            st.sampled_from([alone("1"), alone("2"), HALF]),
        ),
        max_size=20,
    )
)
def test_a_change_leaves_what_was_made_before_it_counts(changes: list[tuple[int, Route]]) -> None:
    """Whatever is dropped of long ago: what is under way is answered as it was told to be."""
    state = there("1", "2")
    write(state, route_record("m", alone("1"), "w"))
    now_ms, all_told = 0, [(0, alone("1"))]
    for later_ms, route in changes:
        now_ms += later_ms
        write(state, route_record("m", route, "w"), now_ms)
        if route != all_told[-1][1]:
            all_told.append((max(now_ms + LAG_MS, all_told[-1][0] + 1), route))
        steps = state.routes()["m"]
        for at in range(max(0, now_ms - RECENT_MS), now_ms + 2 * LAG_MS, 4999):
            assert step_at(steps, at)[1] == step_at(tuple(all_told), at)[1]


def test_what_does_not_change_the_route_does_not_touch_it() -> None:
    state = there("1", "2")
    first = write(state, route_record("m", HALF, "w"))
    assert HALF.only is None
    assert write(state, first, 99_000).routes == first.routes
    assert write(state, route_record("m", HALF, "other"), 99_000).routes == first.routes
    assert write(state, route_record("m", alone("2"), "w"), 99_000).routes.keys() == {"0", "109000"}


def test_a_record_of_a_release_before_routes_is_one_version() -> None:
    state = there("1", "2")
    old = RegistryRecord(RegistryKind.ROUTE, "m", "1", "", "", "w")
    assert steps_in(old) == ((0, alone("1")),)
    state.take(key_of(old), old, 50)
    assert write(state, route_record("m", alone("2"), "w"), 1000).routes == {
        "0": told(alone("1")),
        "11000": told(alone("2")),
    }


@pytest.mark.parametrize(
    "text", ["", "[", "3", "null", "[]", "{}", '{"weights": {"1": -1}}', "[" * 100_000]
)
def test_what_no_release_writes_is_passed_over(text: str) -> None:
    record = RegistryRecord(
        RegistryKind.ROUTE, "m", "1", "", "", "w", routes={"5": text, "soon": told(HALF)}
    )
    assert steps_in(record) == ((0, alone("1")),)
    assert steps_in(replace(record, routes={**record.routes, "7": told(HALF)})) == ((7, HALF),)
    assert steps_in(replace(record, version="no version")) == ()
    odd = replace(record, version="no version")
    assert with_route(odd, None, 0) is odd


def test_what_a_newer_release_tells_beyond_is_passed_over() -> None:
    newer = '{"weights":{"1":1,"2":1},"canary":{"to":"2"}}'
    record = RegistryRecord(RegistryKind.ROUTE, "m", "1", "", "", "w", routes={"0": newer})
    assert steps_in(record) == ((0, HALF),)


def test_a_share_of_what_is_not_there_is_the_others() -> None:
    state = there("1", "2")
    write(state, route_record("m", Route(weights={"1": 1, "2": 9}), "w"))
    assert state.active() == {"m": "2"}
    gone = state.model("m", "2")
    assert gone
    write(state, replace(gone.record, present=False))
    assert state.active() == {"m": "1"}
    assert state.routes()["m"] == ((0, Route(weights={"1": 1})),)
    assert state.told_route("m")[0][1].weights == {"1": 1, "2": 9}, "it may come back"


def test_a_route_names_versions_that_are_there_and_do_the_same() -> None:
    state = there("1", "2")
    write(state, replace(MODEL, version="3", task="other"))
    with pytest.raises(NotFound, match="m@4 is not registered"):
        set_route(state, "m", Route(weights={"1": 1, "4": 0}), "w")
    rule = {"lane": "low", "version": "4"}
    ruled = Route.model_validate({"weights": {"1": 1}, "rules": [rule]})
    with pytest.raises(NotFound, match="m@4"):
        set_route(state, "m", ruled, "w")
    with pytest.raises(Invalid, match="1 does t, 3 does other"):
        set_route(state, "m", Route(weights={"1": 1, "3": 1}), "w")
    with pytest.raises(Stale):
        set_route(state, "m", HALF, "w", 7)


@pytest.mark.parametrize(
    ("before", "rule", "idle"),
    [
        ({"header": "x-a", "value": "b"}, {"header": "x-a", "value": "b"}, True),
        ({"header": "x-a"}, {"header": "x-a", "value": "b"}, True),
        ({"lane": "low"}, {"lane": "low", "header": "x-a"}, True),
        ({"header": "x-a"}, {"header": "x-a", "lane": "low"}, True),
        ({"header": "x-a", "value": "b"}, {"header": "x-a", "value": "c"}, False),
        ({"header": "x-a", "value": "b"}, {"header": "x-a"}, False),
        ({"header": "x-a"}, {"header": "x-b"}, False),
        ({"lane": "low", "header": "x-a"}, {"lane": "low"}, False),
        ({"lane": "low"}, {"lane": "high"}, False),
        ({"lane": "low"}, {"header": "x-a"}, False),
    ],
)
def test_a_rule_that_one_before_it_takes_all_of_is_refused(
    before: dict[str, str], rule: dict[str, str], idle: bool
) -> None:
    state = there("1", "2")
    other = {"header": "x-other", "version": "2"}
    rules = [other, before | {"version": "2"}, rule | {"version": "1"}]
    route = Route.model_validate({"weights": {"1": 1}, "rules": rules})
    if idle:
        with pytest.raises(Invalid, match="rule 3 never fits, for rule 2 takes all of it"):
            set_route(state, "m", route, "w")
    else:
        assert set_route(state, "m", route, "w")


def test_to_activate_a_version_is_to_give_it_all() -> None:
    state = there("1", "2")
    write(state, route_record("m", HALF, "w"))
    assert set_route(state, "m", HALF, "w") is None
    record = activate(state, "m", "1", "w")
    assert record
    write(state, record)
    assert state.routes()["m"][-1][1] == alone("1")
    assert activate(state, "m", "1", "w") is None


def test_a_version_that_answers_is_not_retired_while_there_are_others() -> None:
    state = there("1", "2", "3")
    write(state, route_record("m", HALF, "w"))
    for version in ("1", "2"):
        with pytest.raises(Conflict, match="activate another version first"):
            retire(state, "m", version)
    assert not retire(state, "m", "3").present


def test_an_event_says_what_was_and_what_is_from_when_on() -> None:
    state = there("1", "2")
    first = write(state, route_record("m", alone("1"), "w"))
    assert route_facts(first, None) is None, "nothing was changed"
    second = write(state, route_record("m", HALF, "w"), 1000)
    assert route_facts(second, first) == {
        "former": "1",
        "route": '{"weights":{"1":1,"2":1}}',
        "former_route": '{"weights":{"1":1}}',
        "since_ms": 11_000,
    }
    assert route_facts(second, second) is None


@pytest.mark.parametrize(
    ("late_ms", "counts"),
    [
        (0, True),
        (LAG_MS - LEAST_LAG_MS, True),
        (LAG_MS - LEAST_LAG_MS + 1, False),
        (LAG_MS - MOST_LAG_MS, True),
        (LAG_MS - MOST_LAG_MS - 1, False),
    ],
)
def test_a_change_that_all_cannot_read_in_time_does_not_count(late_ms: int, counts: bool) -> None:
    """It came to the broker late, or was written by another clock than the broker's."""
    state = there("1", "2")
    first = write(state, route_record("m", alone("1"), "w"))
    at = state.route("m")
    assert at
    change = replace(state.settled(route_record("m", HALF, "w"), 1_000_000), based_on=at.offset)
    state.take(key_of(change), change, 50, 1_000_000 + late_ms)
    assert state.routes()["m"] == steps_in(change if counts else first)
    assert state.buried is not counts
    if not counts:  # what counts is written anew, whenever that is
        mended = replace(first, based_on=at.offset)
        state.take(key_of(first), mended, 51, 9_000_000)
        assert (state.routes()["m"], state.buried) == (steps_in(first), False)


def test_over_a_record_of_a_release_before_routes_a_change_is_in_time() -> None:
    state = there("1", "2")
    old = RegistryRecord(RegistryKind.ROUTE, "m", "1", "", "", "w")
    state.take(key_of(old), old, 50, 1_000_000)
    change = replace(state.settled(route_record("m", HALF, "w"), 2_000_000), based_on=50)
    state.take(key_of(change), change, 51, 2_000_000)
    assert state.routes()["m"] == ((0, alone("1")), (2_000_000 + LAG_MS, HALF))


def test_a_spread_that_all_cannot_read_in_time_does_not_count() -> None:
    state = there("1")
    spread = replace(MODEL, details='{"spread": 4}')
    for late_ms, counts in ((LAG_MS, False), (0, True)):
        at = state.model("m", "1")
        assert at
        change = replace(state.settled(spread, 1_000_000), based_on=at.offset)
        state.take(key_of(change), change, 50 + counts, 1_000_000 + late_ms)
        assert (state.spread("m", 2_000_000) == 4) is counts
