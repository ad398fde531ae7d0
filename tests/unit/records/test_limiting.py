"""Budgets on the registry: read back as told, changed by who may, beside those of the settings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modelmora.errors import Conflict, NotFound
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.records.audited import reason_of
from modelmora.records.budgets import budget_record, budgets_of
from modelmora.records.limiting import Limiting, tell_budget
from modelmora.settings.budgets import Budget, Rate

GUESTS = Budget(principals=("guest-*",), requests=Rate(amount=5, burst=2))
OTHER = Budget(each=(), tokens=Rate(amount=9, per="second"))


def write(state: Registry, record: RegistryRecord | None) -> None:
    assert record
    offset = 1 + max((each.offset for each in state.entries.values()), default=-1)
    state.take(key_of(record), record, offset)


def test_what_is_told_is_read_back() -> None:
    records = [budget_record("guests", GUESTS), budget_record("all", OTHER)]
    assert budgets_of(records) == {"all": OTHER, "guests": GUESTS}
    assert [key_of(each) for each in records] == [b"BUDGET:guests@", b"BUDGET:all@"]
    assert budgets_of([budget_record("guests", None)]) == {}
    assert reason_of(records[0]) == f"budget: {records[0].details}"
    assert reason_of(budget_record("guests", None)) == "budget: taken back"


def told(name: str = "b", **details: Any) -> RegistryRecord:
    return RegistryRecord(RegistryKind.BUDGET, name, "", "", "", "w", details=json.dumps(details))


@pytest.mark.parametrize(
    ("record", "read"),
    [
        (told(requests={"amount": 5, "soft": True}, hours="9-17"), Budget(requests=Rate(amount=5))),
        (told(images={"amount": 5}), None),
        (told(requests={"amount": 0}), None),
        (told(requests=5), None),
        (told('x";r=1', requests={"amount": 5}), None),
        (replace(told(), details="[1]"), None),
        (replace(told(), details="["), None),
        (replace(told(), details="[" * 100_000), None),
    ],
)
def test_what_cannot_be_read_limits_nobody(record: RegistryRecord, read: Budget | None) -> None:
    assert [*budgets_of([record]).values()] == ([read] if read else [])


def test_what_counts_is_the_same_until_another_does() -> None:
    state = Registry()
    limiting = Limiting({"own": OTHER}, state)
    write(state, tell_budget(state, "guests", GUESTS, limiting.own))
    first = limiting.budgets()
    assert first == {"own": OTHER, "guests": GUESTS}
    state.take(b"MODEL:m@1", RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w"), 7)
    assert limiting.budgets() is first
    write(state, told("own", requests={"amount": 5}))
    assert limiting.budgets()["own"] == OTHER, "the settings go before"
    write(state, tell_budget(state, "guests", None))
    assert limiting.budgets().keys() == {"own"}
    state.restore({})
    assert limiting.budgets() == {"own": OTHER}


def test_a_change_is_made_over_what_counts_or_refused() -> None:
    state = Registry()
    write(state, tell_budget(state, "guests", GUESTS))
    assert tell_budget(state, "guests", GUESTS) is None
    changed = tell_budget(state, "guests", OTHER)
    assert changed
    assert changed.based_on == 0
    with pytest.raises(NotFound, match="tells no budget other"):
        tell_budget(state, "other", None)
    with pytest.raises(Conflict, match="the settings tell a budget guests"):
        tell_budget(state, "guests", GUESTS, {"guests"})
