"""What nodes have measured: told, read, joined, and when it is worth telling again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.messages import DeviceKind, RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.records.measured import (
    Measured,
    Taken,
    differs,
    joined,
    known,
    of_model,
    read,
    shown,
    told,
    tried,
)

KEY = ("m", "1")
taken = st.builds(
    Taken,
    st.dictionaries(st.integers(0, 2**40), st.tuples(*[st.integers(0, 2**50)] * 2), max_size=5),
    st.none() | st.integers(1, 2**40),
).map(lambda one: replace(one, peaks=tried(one.peaks, one.safe_cost)))
measured = st.builds(
    Measured,
    st.just("a"),
    st.dictionaries(st.sampled_from(DeviceKind), taken),
    st.none() | st.floats(0.1, 1e6).map(lambda ms: round(ms, 1)),
)


def of(ram: int, load_ms: float = 100.0, safe: int | None = None, mark: str = "a") -> Measured:
    return Measured(mark, {DeviceKind.CPU: Taken({0: (ram, 0)}, safe)}, load_ms)


def state(*records: RegistryRecord) -> Registry:
    made = Registry()
    for offset, record in enumerate(records):
        made.take(key_of(record), record, offset)
    return made


@given(measured)
def test_what_is_told_is_read(found: Measured) -> None:
    assert read(told(KEY, "n1", found)) == found
    assert not differs(found, found)


@given(measured, measured)
def test_those_who_share_a_name_come_to_one_end(one: Measured, other: Measured) -> None:
    both = joined(one, other)
    assert both == joined(other, one) == joined(both, one) == joined(both, other)


@pytest.mark.parametrize(
    "details",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"mark":"a","load_ms":null,"devices":{"tpu":{}}}',
        '{"mark":"a","load_ms":null,"devices":{"cpu":{"peaks":{"0":[-1,0]},"safe_cost":null}}}',
        '{"mark":"a","load_ms":null,"devices":{"cpu":{"peaks":{"0":[1]},"safe_cost":null}}}',
        '{"mark":"a","load_ms":[],"devices":{"cpu":{"peaks":{},"safe_cost":null}}}',
        '{"mark":"a","load_ms":1,"devices":{"cpu":{"peaks":{"0":[1e999,0]},"safe_cost":null}}}',
        '{"mark":"a","load_ms":NaN,"devices":{}}',
        '{"mark":"a","load_ms":Infinity,"devices":{}}',
        '{"mark":"a","load_ms":1e9,"devices":{}}',
        '{"mark":"a","load_ms":-1,"devices":{}}',
        '{"mark":"a","load_ms":1,"devices":{"cpu":{"peaks":{},"safe_cost":0}}}',
        "[" * 100_000,
    ],
)
def test_what_cannot_be_read_counts_as_not_told(details: str) -> None:
    record = RegistryRecord(RegistryKind.MEASURED, *KEY, "", "", "n1", details=details)
    assert read(record) is None
    assert [*of_model(state(record), KEY)] == []


def test_what_a_batch_took_that_is_not_tried_again_is_not_needed_for_ever() -> None:
    def taken(safe: int | None, **peaks: int) -> Measured:
        found = {int(cost[1:]): (held, 0) for cost, held in peaks.items()}
        return Measured("a", {DeviceKind.CPU: Taken(found, safe)})

    before, after = taken(None, _0=1, _64=5), taken(30, _0=1, _32=2)
    assert joined(before, after) == joined(after, before) == after
    assert read(told(KEY, "n1", taken(30, _0=1, _32=2, _64=5))) == after


@pytest.mark.parametrize(
    ("now", "worth"),
    [
        (of(1000), False),
        (of(1090), False),
        (of(1200), True),
        (of(800), True),
        (of(1000, load_ms=105), False),
        (of(1000, load_ms=150), True),
        (of(1000, safe=64), True),
        (of(1000, mark="b"), True),
        (Measured("a", {}), True),
    ],
)
def test_only_what_has_changed_by_a_meaningful_share_is_worth_telling(
    now: Measured, worth: bool
) -> None:
    assert differs(of(1000), now) is worth
    assert differs(None, now)


def test_the_last_word_of_each_node_counts() -> None:
    first, last = told(KEY, "n1", of(10)), told(KEY, "n1", of(20))
    made = state(first, told(KEY, "n2", of(5)), last)
    assert dict(of_model(made, KEY)) == {"n1": of(20), "n2": of(5)}
    assert not made.buried
    assert made.take(key_of(last), None, 9)
    assert dict(of_model(made, KEY)) == {"n2": of(5)}


def test_a_node_begins_with_its_own_else_with_the_largest_of_the_same() -> None:
    made = state(
        told(KEY, "n1", of(10)), told(KEY, "n2", of(30)), told(KEY, "n3", of(99, mark="b"))
    )
    assert known(made, KEY, "n1", "a") == of(10)
    assert known(made, KEY, "new", "a") == of(30)
    assert known(made, KEY, "new", "c") is None
    assert known(made, ("m", "2"), "n1", "a") is None


def test_it_is_shown_by_node_and_device() -> None:
    both = replace(of(10, safe=7), devices={DeviceKind.CUDA: Taken({4: (1, 2), 8: (3, 1)})})
    rows = shown(state(told(KEY, "n2", of(10, safe=7)), told(KEY, "n1", both)), KEY)
    assert [(r["node"], r["device"], r["memory_bytes"], r["gpu_bytes"]) for r in rows] == [
        ("n1", "cuda", 3, 2),
        ("n2", "cpu", 10, 0),
    ]
    assert rows[1]["largest_batch_cost"] == 7
