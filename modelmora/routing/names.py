"""Which version a name alone means, and which model a task alone: one rule for nodes and people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

NOBODY: Mapping[str, str] = {}


class Routed(Protocol):
    """What the rule reads of a model."""

    @property
    def key(self) -> tuple[str, str]:
        """(name, version)."""

    @property
    def task(self) -> str:
        """Its task; empty where its definition cannot be read, which nobody can mean."""


class Wishing(Protocol):
    """What is read of a definition."""

    @property
    def key(self) -> tuple[str, str]:
        """(name, version)."""

    @property
    def active(self) -> bool:
        """Whether it wishes to answer for its name alone."""


@dataclass(frozen=True, slots=True)
class Routes:
    """The key that a name alone stands for, and a task alone."""

    names: Mapping[str, tuple[str, str]]
    tasks: Mapping[str, tuple[str, str]]


def routes(
    models: Iterable[Routed],
    active: Mapping[str, str] = NOBODY,
    defaults: Mapping[str, str] = NOBODY,
) -> Routes:
    """Where requests go that name no version, or no model.

    `active` is the version that was chosen for a name, `defaults` the name chosen for a task.

    (1) A name means its active version, also one that is not among these models: it is elsewhere.
    (2) While nobody has chosen, it means its lowest version: a newer one takes nothing over.
    (3) A task means the name that was chosen for it, else its first by name, in the version of (1).
    """
    known = [model for model in models if model.task]
    lowest = sorted(known, key=lambda model: version_order(model.key[1]), reverse=True)
    names = {model.key[0]: model.key for model in lowest}
    names |= {name: (name, version) for name, version in active.items()}
    task_of = {model.key: model.task for model in known}
    first = sorted(((name, key) for name, key in names.items() if key in task_of), reverse=True)
    tasks = {task_of[key]: key for _, key in first}
    tasks |= {task: names[name] for task, name in defaults.items() if name in names}
    return Routes(names, tasks)


def wished(models: Iterable[Wishing]) -> dict[str, str]:
    """Of each name the version that its definitions wish to be active; of several the highest."""
    wishes = [model.key for model in models if model.active]
    return dict(sorted(wishes, key=lambda key: version_order(key[1])))


def version_order(version: str) -> tuple[tuple[bool, int, str], ...]:
    """Sorts versions as people do: 2 before 10."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts)
