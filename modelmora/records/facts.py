"""What is known of a model: what its files tell, then its source's card, then what people add."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modelmora.messages import RegistryRecord
from modelmora.records.telling import details_of
from modelmora.settings import ModelDetails

MOST_ITEMS = 64
MOST_CHARS = 4000


def text_of(facts: Mapping[str, Any]) -> str:
    """What files tell, as a record holds it: numbers, words and short lists of them."""
    told = {name: value for name, value in sorted(facts.items()) if _is_short(value)}
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"), default=list)
    return text if told and len(text) <= MOST_CHARS else ""


def facts_of(record: RegistryRecord) -> dict[str, Any]:
    """All that is known of a registered model, by name."""
    try:
        told = json.loads(record.file_facts) if record.file_facts else {}
    except (ValueError, RecursionError):
        told = {}
    return merged(told if isinstance(told, dict) else {}, details_of(record))


def merged(told: Mapping[str, Any], details: ModelDetails) -> dict[str, Any]:
    """What is known: `told` by the files, before the card, before curated metadata.

    Whoever comes later fills only what those before lack.
    """
    known: dict[str, Any] = {}
    for each in (told, details.card, details.metadata):
        known |= {name: value for name, value in each.items() if not _lacks(known, value, name)}
    return known


def _lacks(known: Mapping[str, Any], value: object, name: str) -> bool:
    return name in known or value in (None, "", [], ())


def matches(known: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether all these are among the facts; of a list one is enough, capitals do not count."""
    return all(text.casefold() in _words(known.get(name)) for name, text in wanted.items())


def _words(value: Any) -> set[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return {
        (json.dumps(each) if isinstance(each, bool) else str(each)).casefold()
        for each in values
        if each is not None
    }


def _is_short(value: object) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= MOST_ITEMS and all(isinstance(each, str | int) for each in value)
    return isinstance(value, str | int | float) and value != ""
