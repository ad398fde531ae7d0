"""What the card of a model tells, as people write it at the head of a README."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from modelmora.settings.models import Value
from modelmora.text import printable, shorten

NAMES = ("language", "base_model", "datasets", "library_name", "tags")
MOST = 20
CHARS = 80


def told_of(card: Mapping[str, Any]) -> dict[str, Value]:
    """What we note of a card: some lines of it, words and short lists of words, made harmless."""
    told: dict[str, Value] = {}
    for name in NAMES:
        value = card.get(name)
        if isinstance(value, str) and value:
            told[name] = _word(value)
        elif isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            told[name] = tuple(_word(each) for each in value[:MOST])
    return told


def card_in(readme: str) -> dict[str, Value]:
    """That of the head of a README; nothing where there is none, or it cannot be read."""
    if not readme.startswith("---"):
        return {}
    try:
        card = yaml.safe_load(readme.removeprefix("---").partition("\n---")[0])
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return told_of(card) if isinstance(card, dict) else {}


def card_beside(folder: Path) -> dict[str, Value]:
    """That of the README in a folder."""
    try:
        with (folder / "README.md").open("rb") as file:
            return card_in(file.read(16_000).decode("utf-8", "replace"))
    except OSError:
        return {}


def _word(text: str) -> str:
    return shorten(printable(text.strip()), CHARS)
