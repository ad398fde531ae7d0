"""On which partition an id lies: the same one before and after a change, whoever works it out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.records.changes import LAG_MS, MOST_CHANGES
from modelmora.records.spread import spread_at, steps_of, with_spread
from modelmora.wire import id_of_name, partition_of, place_of, places_of

MODEL = RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w")


def spread(record: RegistryRecord, over: int) -> RegistryRecord:
    return replace(record, details=json.dumps({"spread": over}))


def write(state: Registry, record: RegistryRecord, now_ms: int) -> RegistryRecord:
    """Write over what counts, as whoever writes does, and read it."""
    before = state.entries.get(key_of(record))
    written = replace(state.settled(record, now_ms), based_on=before.offset if before else None)
    offset = 1 + max((each.offset for each in state.entries.values()), default=0)
    state.take(key_of(written), written, offset)
    return written


def test_the_first_of_a_name_is_spread_from_the_beginning() -> None:
    state = Registry()
    write(state, spread(MODEL, 3), 5000)
    assert state.spread("m", 0) == 3
    assert state.spread("other", 0) == 1
    request_id = id_of_name("x", 1)
    assert state.place("m@1", request_id, 8) == place_of("m", request_id, 3, 8)
    assert state.place("other", request_id, 8) is None


def test_a_change_moves_no_id_that_is_there() -> None:
    state = Registry()
    write(state, MODEL, 0)
    ids = {at: id_of_name(str(at), at) for at in range(0, 200_000, 997)}
    places: dict[int, int | None] = {}
    for now_ms, over in ((10_000, 4), (50_000, 2), (100_000, 1), (150_000, 6)):
        placed = {at: state.place("m", each, 8) for at, each in ids.items() if at < now_ms + LAG_MS}
        assert places.items() <= placed.items()
        places = placed
        write(state, spread(MODEL, over), now_ms)
        assert state.spread("m", now_ms + LAG_MS) == over
    after = {at: state.place("m", each, 8) for at, each in ids.items()}
    assert places.items() <= after.items()
    assert len({*after.values()}) > 4


def test_what_does_not_change_the_spread_does_not_touch_it() -> None:
    state = Registry()
    first = write(state, spread(MODEL, 3), 0)
    assert write(state, replace(first, max_inputs=7), 99_000).spreads == first.spreads
    assert write(state, MODEL, 99_000).spreads == {"0": 3, "109000": 1}
    gone = Registry()
    write(gone, spread(MODEL, 3), 0)
    assert write(gone, replace(spread(MODEL, 3), present=False), 1).spreads == {"0": 3, "10001": 1}


def test_a_further_version_does_not_move_what_its_name_has() -> None:
    state = Registry()
    write(state, MODEL, 0)
    write(state, spread(replace(MODEL, version="2"), 4), 50_000)
    assert state.spread("m", 50_000 + LAG_MS - 1) == 1
    assert state.spread("m", 50_000 + LAG_MS) == 4


def test_only_so_many_changes_are_kept() -> None:
    record: RegistryRecord | None = None
    for number in range(20):
        at = 900_000 * number
        record = with_spread(spread(MODEL, 2 + number % 2), record, at, first=record is None)
    assert record
    assert len(record.spreads) == MOST_CHANGES
    assert [at for at, _ in steps_of(record.spreads)] == sorted(map(int, record.spreads))


def test_changes_in_a_row_do_not_take_away_what_counts_now() -> None:
    record = with_spread(spread(MODEL, 2), None, 0, first=True)
    for number in range(20):
        record = with_spread(spread(MODEL, 3 + number % 2), record, 900_000 + number, first=False)
        assert spread_at(steps_of(record.spreads), 900_000) == 2
    later = with_spread(spread(MODEL, 7), record, 9_000_000, first=False)
    assert len(later.spreads) == MOST_CHANGES


def test_what_no_release_writes_is_passed_over() -> None:
    assert steps_of({"soon": 3, "7": 0, "9": 2, "8": 99999, "9" * 30: 2}) == ((9, 2),)


def test_an_id_without_a_time_is_not_spread() -> None:
    state = Registry()
    write(state, spread(MODEL, 4), 0)
    assert state.place("m", "order-17", 8) is None


@given(st.integers(1, 12), st.integers(1, 12))
def test_places_begin_with_that_of_the_name(over: int, partitions: int) -> None:
    places = places_of("m", over, partitions)
    assert places[0] == partition_of(b"m", partitions)
    assert len({*places}) == len(places) == min(over, partitions)
    assert place_of("m", id_of_name("x", 1), over, partitions) in places


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_every_node_has_its_share_of_the_places(nodes: int) -> None:
    """Kafka's range assignor gives each member partitions that follow on each other."""
    each = 48 // nodes
    for name in ("a", "b", "c", "d"):
        places = places_of(name, 12, 48)
        shares = [sum(place // each == node for place in places) for node in range(nodes)]
        assert shares == [12 // nodes] * nodes


def test_ids_of_one_partition_of_results_are_spread_all_the_same() -> None:
    """A gateway makes ids that hash to its own partitions of `results`."""
    ids = (id_of_name(str(number), number) for number in range(40_000))
    mine = [each for each in ids if partition_of(each.encode(), 8) == 5]
    shares = [0] * 8
    for each in mine:
        shares[place_of("m", each, 8, 8)] += 1
    assert min(shares) > len(mine) / 8 * 0.8


def test_before_the_first_change_it_is_one() -> None:
    assert [spread_at(((5, 3), (9, 2)), at) for at in (4, 5, 8, 9)] == [1, 3, 3, 2]
