"""What is to be done so that the registry says what files say: a pure comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from modelmora.settings import ModelConfig
from modelmora.settings.routes import Route

Key = tuple[str, str]


class Do(StrEnum):
    """What a step does."""

    ADD = "add"
    CHANGE = "change"
    ACTIVATE = "activate"
    ROUTE = "route"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Registered:
    """A model version as the registry has it; `etag` names that state of it.

    `declared`: a node's own definition tells it, and so it is not ours to retire.
    """

    fields: Mapping[str, Any]
    active: bool = False
    declared: bool = False
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One change; `fields` are what is sent, `former` what stood there, `etag` what was seen."""

    do: Do
    key: Key
    fields: Mapping[str, Any] = field(default_factory=dict)
    former: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""


def with_routes(
    steps: Sequence[Step],
    wanted: Mapping[str, Route],
    there: Mapping[str, Mapping[str, Any]],
) -> tuple[Step, ...]:
    """The steps, with those by which names are answered as is wanted; `there` is how they are.

    They are taken once all versions are there, and before one is retired that answers until then.
    """
    routes: list[Step] = []
    for name, route in sorted(wanted.items()):
        told, known = route.model_dump(mode="json"), there.get(name, {})
        former = {field: known.get(field) for field in told}
        if told != former:
            routes.append(Step(Do.ROUTE, (name, ""), told, former, str(known.get("etag", ""))))
    before = [step for step in steps if step.do is not Do.RETIRE]
    return (*before, *routes, *(step for step in steps if step.do is Do.RETIRE))


def plan(
    wanted: Sequence[ModelConfig], registered: Mapping[Key, Registered], *, prune: bool = False
) -> tuple[Step, ...]:
    """The steps from what is registered to what is wanted, in the order to take them.

    (1) What is not there is added.
    (2) Of what is there the fields that its file tells are changed; the others stay as they are.
    (3) What wishes to be active and is not is activated.
    (4) With `prune` all else is retired that no node declares: active versions last.
    """
    steps: list[Step] = []
    for config in wanted:
        key = (config.name, config.version)
        told = _told(config)
        known = registered.get(key)
        if known is None:
            steps.append(Step(Do.ADD, key, told))  # (1)
            continue
        # (2)
        changed = {
            name: value
            for name, value in told.items()
            if name not in ("name", "version", "active") and known.fields.get(name) != value
        }
        if changed:
            former = {name: known.fields.get(name) for name in changed}
            steps.append(Step(Do.CHANGE, key, changed, former, known.etag))
        if config.active and not known.active:
            steps.append(Step(Do.ACTIVATE, key))  # (3)
    if prune:
        steps += _pruned({(each.name, each.version) for each in wanted}, registered)  # (4)
    return tuple(steps)


def _told(config: ModelConfig) -> dict[str, Any]:
    """The fields that its file tells, as JSON, and those that every model has."""
    shown = config.model_dump(mode="json")
    always = {"name", "version", "task", "source"}
    return {name: shown[name] for name in shown if name in config.model_fields_set | always}


def _pruned(wanted: set[Key], registered: Mapping[Key, Registered]) -> Iterable[Step]:
    gone = [
        (known.active, key)
        for key, known in registered.items()
        if key not in wanted and not known.declared
    ]
    return [Step(Do.RETIRE, key, etag=registered[key].etag) for _, key in sorted(gone)]
