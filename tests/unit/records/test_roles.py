"""Roles and grants on the registry: read back as told, and never as more than that."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modelmora.access.rights import Rule, Told, Verb
from modelmora.messages import Lane, RegistryKind, RegistryRecord
from modelmora.records import Registry, key_of
from modelmora.records.roles import grant_record, role_record, told_of
from modelmora.records.ruling import Ruling
from modelmora.settings import AccessSettings

RULES = (
    Rule(verbs=(Verb.INFER, Verb.STREAM), models=("embed-*",), lanes=("low",)),
    Rule(verbs=(Verb.INFER,), models=("embed-secret",), effect="deny"),
)


def write(state: Registry, *records: RegistryRecord) -> None:
    """Append them to the log that the registry reads."""
    for record in records:
        key = key_of(record)
        before = state.entries.get(key)
        offset = 1 + max((each.offset for each in state.entries.values()), default=-1)
        state.take(key, replace(record, based_on=before.offset if before else None), offset)


def test_what_is_told_is_read_back() -> None:
    records = [role_record("embedder", RULES), grant_record("team-*", ["b", "a"])]
    assert told_of(records) == Told({"embedder": RULES}, {"team-*": ("a", "b")}, ever=True)
    assert [key_of(each) for each in records] == [b"ROLE:embedder@", b"GRANT:team-*@"]
    assert told_of(replace(each, present=False) for each in records) == Told(ever=True)
    assert told_of([RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w")]) == Told()


def role(**told: Any) -> RegistryRecord:
    return RegistryRecord(RegistryKind.ROLE, "r", "", "", "", "w", details=json.dumps(told))


@pytest.mark.parametrize(
    ("rule", "read"),
    [
        ({"verbs": ["infer", "fly"]}, Rule(verbs=(Verb.INFER,))),
        ({"verbs": ["fly"]}, None),
        ({"verbs": ["infer"], "hours": "9-17"}, None),
        ({"verbs": ["infer"], "lanes": ["slow"]}, None),
        ({"verbs": ["infer"], "models": []}, None),
        (
            {"verbs": ["infer"], "effect": "deny", "models": ["a"], "hours": "9-17"},
            Rule(verbs=(Verb.INFER,), effect="deny"),
        ),
        ({"verbs": ["infer"], "effect": "perhaps"}, Rule(verbs=(Verb.INFER,), effect="deny")),
        ({"verbs": "infer"}, None),
        ({"verbs": [["infer"], {}, 1]}, None),
        ({"models": ["*"]}, None),
        ("infer", None),
        (None, None),
    ],
)
def test_what_cannot_be_read_allows_nothing_and_denies_all_it_may_mean(
    rule: Any, read: Rule | None
) -> None:
    assert told_of([role(rules=[rule])]) == Told({"r": (read,) if read else ()}, ever=True)


@pytest.mark.parametrize("details", ["", "[]", "{", "7", '{"rules": {}}', "[" * 100_000])
def test_a_record_that_tells_nothing_still_counts_as_told(details: str) -> None:
    state = Registry()
    write(state, replace(role(), details=details), replace(role(), kind=RegistryKind.GRANT))
    rights = Ruling(AccessSettings(), state).rights()
    assert rights.told
    assert not rights.decide("anybody", Verb.INFER, "m", Lane.LOW).allowed


def test_rights_follow_the_registry() -> None:
    state, own = Registry(), AccessSettings.model_validate({"grants": {"root": ["admin"]}})
    ruling = Ruling(own, state)

    def may(who: str) -> bool:
        return ruling.rights().decide(who, Verb.INFER, "embed-x", Lane.LOW).allowed

    assert (may("root"), may("ann")) == (True, False)
    write(state, role_record("embedder", RULES), grant_record("ann", ["embedder"]))
    assert (may("root"), may("ann")) == (True, True)
    same = ruling.rights()
    write(state, RegistryRecord(RegistryKind.MODEL, "m", "1", "t", "/s", "w"))
    assert ruling.rights() is same
    write(state, replace(grant_record("ann", ["embedder"]), present=False))
    assert (may("root"), may("ann")) == (True, False)


def test_taking_back_the_last_grant_opens_nothing() -> None:
    state = Registry()
    ruling = Ruling(AccessSettings(), state)
    assert ruling.rights().decide("ann", Verb.ADMIN).allowed
    for present in (True, False):
        write(state, replace(grant_record("root", ["admin"]), present=present))
        assert not ruling.rights().decide("ann", Verb.ADMIN).allowed
