"""What callers may change in the registry: each verb makes the one record to write, or refuses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError

from modelmora.errors import Conflict, Invalid, NotFound, Stale
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records.canaries import running
from modelmora.records.routes import before_it, route_record
from modelmora.records.state import GONE, Entry, Registry
from modelmora.records.telling import (
    config_of,
    default_key,
    model_key,
    record_of,
    unknown_details,
)
from modelmora.routing import alone, idle, routes
from modelmora.settings import ModelConfig, Section
from modelmora.settings.models import bound_to_node
from modelmora.settings.routes import Route

S = TypeVar("S", bound=Section)
FIXED = ("name", "version", "active")
"""What an update leaves alone: it makes another model of it, or has a verb of its own."""
RUN = ("source", "revision", "files", "adapter", "engine", "task")
"""What a model's files, and so what they tell, follow from."""


def register(state: Registry, config: ModelConfig, writer: str) -> RegistryRecord | None:
    """A model version that is new, or was retired; None where just that is registered.

    Raises Conflict where something else is registered under its name and version.
    """
    _check_free(config)
    entry = state.entries.get(model_key(config.name, config.version))
    record = record_of(config, writer)
    if entry and entry.record.present:
        if config_of(entry.record) == config.model_copy(update={"active": False}):
            return None
        raise Conflict(
            f"{config.name}@{config.version} is registered with other fields; "
            "update it, or register another version"
        )
    return _over(state, entry, record)


def answers(state: Registry, config: ModelConfig) -> bool:
    """Whether it answers for its name once it is registered: it wishes so, or none does yet."""
    return config.active or config.name not in state.active()


def takes_over(state: Registry, config: ModelConfig) -> bool:
    """Whether registering it changes how a name is answered that other versions have too."""
    name, version = config.name, config.version
    told = state.told_route(name)
    others = any(each.name == name and each.version != version for each in state.models())
    alike = bool(told) and told[-1][1] == alone(version)
    return others and not alike and answers(state, config)


def update(
    state: Registry, name: str, version: str, changes: Mapping[str, Any], base: int | None = None
) -> RegistryRecord | None:
    """The model with these fields changed, null ones back at their default; None for no change.

    `base` is the offset of the record that the caller has seen. Raises NotFound, Stale where it
    is another now, Invalid that names the field.
    """
    entry = present(state, name, version, base)
    if fixed := sorted(set(FIXED) & changes.keys()):
        raise Invalid(f"{fixed[0]}: cannot be changed here")
    told = config_of(entry.record).model_dump(mode="json", exclude_defaults=True)
    told |= changes
    config = checked({field: value for field, value in told.items() if value is not None})
    if changes.keys() & {"engine", "options"}:
        _check_free(config)
    record, before = entry.record, config_of(entry.record)
    same = all(getattr(config, each) == getattr(before, each) for each in RUN)
    made = record_of(
        config,
        record.writer,  # whoever has declared it may still withdraw it
        kept=unknown_details(record),
        max_inputs=record.max_inputs if same else None,
        file_facts=record.file_facts if same else "",
        declaration=record.declaration,
    )
    made = _over(state, entry, made)
    return None if replace(made, based_on=record.based_on) == record else made


def retire(state: Registry, name: str, version: str, base: int | None = None) -> RegistryRecord:
    """The model as one that is there no more. Raises NotFound, and Conflict.

    That is also raised for the active version while there are others: which is to answer then?
    """
    entry = present(state, name, version, base)
    others = [each.version for each in state.models() if each.name == name]
    others.remove(version)
    steps = state.routes().get(name)
    if others and steps and version in steps[-1][1].versions:
        raise Conflict(
            f"{name}@{version} answers for {name}; activate another version first: "
            f"{', '.join(others[:5])}"
        )
    if (canary := running(state, name)) and version in (canary.baseline, canary.plan.candidate):
        raise Conflict(f"a canary of {name} runs with {name}@{version}; abort it first")
    return _over(state, entry, replace(entry.record, present=False))


def activate(state: Registry, name: str, version: str, writer: str) -> RegistryRecord | None:
    """The route that makes a version answer for its name; None where it does. Raises NotFound."""
    return set_route(state, name, alone(version), writer)


def set_route(
    state: Registry, name: str, route: Route, writer: str, base: int | None = None
) -> RegistryRecord | None:
    """The route by which a name is answered so; None where it is.

    Where nobody has told one, the lowest version has answered, and does for ids from before.
    `base` is the offset of the route that the caller has seen. Raises NotFound where a version is
    not there, Stale where the route is another now, Invalid where versions do different things or a
    rule can never fit.
    """
    named = sorted(route.versions | route.weights.keys() | route.shadow.keys())
    tasks = {version: present(state, name, version).record.task for version in named}
    entry = state.route(name)
    if base is not None and (entry is None or entry.offset != base):
        raise Stale(f"the route of {name} has been changed meanwhile; read it again")
    if len({*tasks.values()}) > 1:
        does = ", ".join(f"{version} does {task}" for version, task in tasks.items())
        raise Invalid(f"the versions of a route do the same; {does}")
    for number, earlier in idle(route.rules):
        raise Invalid(
            f"rule {number} never fits, for rule {earlier} takes all of it; put it before that one "
            "or leave it out"
        )
    told = state.told_route(name)
    if told and told[-1][1] == route:
        return None
    return _over(state, entry, routed(state, name, route, writer))


def routed(state: Registry, name: str, route: Route, writer: str) -> RegistryRecord:
    """The record of a route; the first one leaves ids from before to who has answered them."""
    record = route_record(name, route, writer)
    if state.told_route(name) or not (lowest := routes(state.models()).names.get(name)):
        return record
    return before_it(record, alone(lowest[1]))


def make_default(state: Registry, name: str, writer: str) -> RegistryRecord | None:
    """The record that makes a model answer for its task; None where it does. Raises NotFound."""
    version = state.active().get(name)
    if version is None:
        raise NotFound(f"{name} has no active version")
    task = present(state, name, version).record.task
    if state.defaults().get(task) == name:
        return None
    chosen = RegistryRecord(RegistryKind.DEFAULT, name, "", task, "", writer)
    return _over(state, state.entries.get(default_key(task)), chosen)


def present(state: Registry, name: str, version: str, base: int | None = None) -> Entry:
    """What counts of a model that is there. Raises NotFound, Stale where `base` is another."""
    entry = state.model(name, version)
    if entry is None or not entry.record.present:
        known = [each.version for each in state.models() if each.name == name]
        has = f"; {name} has {', '.join(known[:5])}" if known else ""
        raise NotFound(f"{name}@{version} is not registered{has}")
    if base is not None and entry.offset != base:
        raise Stale(f"{name}@{version} has been changed meanwhile; read it again")
    return entry


def checked(told: Mapping[str, Any]) -> ModelConfig:
    """The model that these fields tell. Raises Invalid that names the field."""
    return checked_as(ModelConfig, told)


def checked_as(kind: type[S], told: Mapping[str, Any]) -> S:
    """What these fields tell. Raises Invalid that names the field."""
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in fault["loc"]) or "the whole"
        raise Invalid(f"{field}: {fault['msg']}") from None


def _check_free(config: ModelConfig) -> None:
    if bound := bound_to_node(config.engine, config.options):
        raise Invalid(f"{bound}: counts only in a node's own settings and files")


def _over(state: Registry, entry: Entry | None, record: RegistryRecord) -> RegistryRecord:
    based_on = None if entry is None or entry.offset == GONE else entry.offset
    return replace(state.settled(record, time.time_ns() // 1_000_000), based_on=based_on)
