"""Which version a name alone means, and which model a task alone: one rule for nodes and people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


class Routed(Protocol):
    """What the rule reads of a model."""

    @property
    def key(self) -> tuple[str, str]:
        """(name, version)."""

    @property
    def task(self) -> str:
        """Its task; empty where its definition cannot be read, which nobody can mean."""

    @property
    def default(self) -> bool:
        """Whether it may answer for its name alone."""


@dataclass(frozen=True, slots=True)
class Routes:
    """The key that a name alone stands for, and a task alone."""

    names: Mapping[str, tuple[str, str]]
    tasks: Mapping[str, tuple[str, str]]


def routes(models: Iterable[Routed]) -> Routes:
    """Where requests go that name no version, or no model.

    (1) A name means its newest version of those that may answer for it; where none may, its newest.
    (2) A task means its first model by name, in the version of (1).
    """
    known = [model for model in models if model.task]
    # (1) The last one stays: a version that may, before one that may not, then the newest.
    ordered = sorted(known, key=lambda model: (model.default, version_order(model.key[1])))
    names = {model.key[0]: model for model in ordered}
    # (2) The first one stays.
    tasks = {names[name].task: names[name].key for name in sorted(names, reverse=True)}
    return Routes({name: model.key for name, model in names.items()}, tasks)


def version_order(version: str) -> tuple[tuple[bool, int, str], ...]:
    """Sorts versions as people do: 2 before 10."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts)
