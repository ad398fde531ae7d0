"""The registry as lines: what is kept, what is no backup, and what is to be written again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from modelmora.errors import Invalid
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records.backup import Backup, lines, planned
from modelmora.records.state import Registry
from modelmora.records.telling import key_of

NOW_MS = 1_790_000_000_000


def model(version: str, source: str = "builtin:echo") -> RegistryRecord:
    return RegistryRecord(RegistryKind.MODEL, "m", version, "echo", source, "somebody")


ROLE = RegistryRecord(RegistryKind.ROLE, "reader", "", "", "", "somebody", details="{}")
MEASURED = RegistryRecord(RegistryKind.MEASURED, "m", "1", "", "", "n1", details='{"load_ms":1}')
LEASE = RegistryRecord(RegistryKind.NODE, "n1", "", "", "", "n1", lease_ms=1000)


def registry(*records: RegistryRecord) -> Registry:
    found = Registry()
    for offset, each in enumerate(records):
        found.take(key_of(each), each, offset)
    return found


def kept(*records: RegistryRecord) -> list[str]:
    return [*lines(registry(*records), "ns", NOW_MS)]


def test_what_counts_is_kept_and_leases_are_not() -> None:
    replaced = model("1", "builtin:sleep")
    told = kept(replaced, LEASE, ROLE, replace(model("1"), based_on=0), MEASURED)
    found = Backup.read(told)
    assert (found.namespace, len(found.records)) == ("ns", 3)
    assert {(each.kind, each.name, each.source) for each in found.records} == {
        (RegistryKind.MODEL, "m", "builtin:echo"),
        (RegistryKind.ROLE, "reader", ""),
        (RegistryKind.MEASURED, "m", ""),
    }
    assert json.loads(told[1])["of"] == "the role of reader"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda told: [], "no backup of a registry"),
        (lambda told: ["{}", *told[1:]], "no backup of a registry"),
        (lambda told: ["[]"], "no backup of a registry"),
        (lambda told: ["[" * 100_000], "no backup of a registry"),
        (lambda told: [told[0].replace('"registry": 1', '"registry": 2')], "of another form"),
        (lambda told: told[:-1], "it has 1 of 2 records; it was cut off"),
        (lambda told: [*told, told[-1]], "it has 3 of 2 records"),
        (lambda told: [*told[:-1], told[-1][:40]], "line 3 is no record"),
        (lambda told: [*told[:-1], '{"value": "bm9uZQ=="}'], "line 3 is no record"),
        (lambda told: [*told[:-1], '{"value": 7}'], "line 3 is no record"),
    ],
)
def test_what_is_no_whole_backup_is_refused(change, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Invalid, match=why):
        Backup.read(change(kept(model("1"), ROLE)))


def test_into_an_empty_registry_all_is_written_as_the_first_of_its_key() -> None:
    backup = Backup.read(kept(model("1"), ROLE, replace(ROLE, details='{"a":1}', based_on=1)))
    plan = planned(backup, Registry(), NOW_MS)
    assert (len(plan.missing), plan.other, plan.same) == (2, [], 0)
    anew = registry(*plan.missing)
    assert [entry.record for entry in anew.entries.values()] == [
        model("1"),
        replace(ROLE, details='{"a":1}'),
    ]


def test_what_is_there_is_left_or_written_over_and_counts_then() -> None:
    backup = Backup.read(kept(model("1"), model("2"), ROLE, MEASURED))
    now = registry(
        replace(model("1"), writer="another"),
        replace(ROLE, details='{"later":1}'),
        replace(MEASURED, details='{"load_ms":2}'),
        model("3"),
    )
    plan = planned(backup, now, NOW_MS)
    assert [each.version for each in plan.missing] == ["2"]
    assert [key_of(each) for each in plan.other] == [key_of(ROLE)]
    assert plan.same == 2
    for number, each in enumerate([*plan.missing, *plan.other], 10):
        assert now.take(key_of(each), each, number, NOW_MS)
    assert now.entries[key_of(ROLE)].record.details == "{}"
    assert not now.buried
    assert planned(backup, now, NOW_MS).other == []
