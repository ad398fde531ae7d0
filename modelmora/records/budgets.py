"""Budgets as records of the registry, and back; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.settings.budgets import NAME, Budget, Rate

_KNOWN = Budget.model_fields
_OF_RATE = Rate.model_fields


def budget_record(name: str, budget: Budget | None) -> RegistryRecord:
    """The record that tells a budget; None: that there is none of this name any more."""
    told = budget.model_dump(mode="json", exclude_defaults=True) if budget else {}
    details = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    present = budget is not None
    return RegistryRecord(
        RegistryKind.BUDGET, name, "", "", "", "", present=present, details=details
    )


def budgets_of(records: Iterable[RegistryRecord]) -> dict[str, Budget]:
    """The budgets that these records tell, by name."""
    told = {
        each.name: _read(each.details)
        for each in records
        if each.kind is RegistryKind.BUDGET and each.present and re.fullmatch(NAME, each.name)
    }
    return {name: budget for name, budget in sorted(told.items()) if budget}


def _read(details: str) -> Budget | None:
    """The budget in a record, None where it limits nothing that we know.

    What a later release says beyond this one is left out: so it holds for more than was meant, and
    never for less.
    """
    try:
        found = json.loads(details)
        told = {name: _known(value) for name, value in found.items() if name in _KNOWN}
        return Budget.model_validate(told)
    except (ValueError, ValidationError, AttributeError, RecursionError):
        return None


def _known(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: each for name, each in value.items() if name in _OF_RATE}
    return value
