"""Roles and grants as records of the registry, and back; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from modelmora.access.rights import Rule, Told, Verb
from modelmora.messages import RegistryKind, RegistryRecord

_VERBS = frozenset(Verb)


def role_record(name: str, rules: Iterable[Rule]) -> RegistryRecord:
    """The record that tells a role."""
    told = {"rules": [each.model_dump(mode="json", exclude_defaults=True) for each in rules]}
    return _record(RegistryKind.ROLE, name, told)


def grant_record(principal: str, roles: Iterable[str]) -> RegistryRecord:
    """The record that grants roles to a principal."""
    return _record(RegistryKind.GRANT, principal, {"roles": sorted(set(roles))})


def _record(kind: RegistryKind, name: str, told: Mapping[str, Any]) -> RegistryRecord:
    details = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return RegistryRecord(kind, name, "", "", "", "", details=details)


def told_of(records: Iterable[RegistryRecord]) -> Told:
    """The roles and grants that these records tell, or have told before they were taken back.

    One that cannot be read, as a later release may have written it, still counts as told: so
    nobody may do more by it.
    """
    roles: dict[str, tuple[Rule, ...]] = {}
    grants: dict[str, tuple[str, ...]] = {}
    ever = False
    for record in records:
        ever |= record.kind in (RegistryKind.ROLE, RegistryKind.GRANT)
        if record.kind is RegistryKind.ROLE and record.present:
            told = (_rule(each) for each in _listed(record, "rules"))
            roles[record.name] = tuple(each for each in told if each)
        elif record.kind is RegistryKind.GRANT and record.present:
            names = _listed(record, "roles")
            grants[record.name] = tuple(each for each in names if isinstance(each, str))
    return Told(roles, grants, ever)


def _listed(record: RegistryRecord, name: str) -> list[Any]:
    try:
        found = json.loads(record.details)
    except (ValueError, RecursionError):
        return []
    told = found.get(name) if isinstance(found, dict) else None
    return told if isinstance(told, list) else []


def _rule(told: Any) -> Rule | None:
    """The rule that is told, None where there is none that we know.

    (1) Verbs that we do not know are those of a later release, and nobody asks us for them.
    (2) What else cannot be read may narrow the rule: one that allows then allows nothing, and one
        that denies denies all models in all lanes.
    """
    if not isinstance(told, dict):
        return None
    # (1)
    given = told.get("verbs")
    several = given if isinstance(given, list) else []
    named = [each for each in several if isinstance(each, str) and each in _VERBS]
    if not named:
        return None
    try:
        return Rule.model_validate({**told, "verbs": named})
    except ValidationError:
        # (2)
        if told.get("effect", "allow") == "allow":
            return None
        return Rule(verbs=tuple(map(Verb, named)), effect="deny")
