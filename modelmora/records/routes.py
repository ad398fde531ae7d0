"""A route as a record of the registry tells it, with what it was for ids from before; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from pydantic import ValidationError

from modelmora.messages import Parameter, RegistryKind, RegistryRecord
from modelmora.records.changes import changed, is_time
from modelmora.routing import Steps, alone, main_version
from modelmora.settings.routes import Route

NEXT = ""
"""Under this a record that is not written yet holds what it is to say from now on."""


def told(route: Route) -> str:
    """A route as JSON."""
    form = route.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(form, sort_keys=True, separators=(",", ":"))


def route_record(name: str, route: Route, writer: str) -> RegistryRecord:
    """The record by which a name is to be answered so, to be written `with_route`."""
    version = main_version(route)
    return RegistryRecord(
        RegistryKind.ROUTE, name, version, "", "", writer, routes={NEXT: told(route)}
    )


def before_it(record: RegistryRecord, former: Route) -> RegistryRecord:
    """The record of a first route, where the name was answered though nobody had told how."""
    return replace(record, routes={"0": told(former), **record.routes})


def steps_in(record: RegistryRecord | None) -> Steps:
    """What a record says, as far as it can be meant; without routes one version answers all."""
    if record is None:
        return ()
    found = [(int(at), _read(text)) for at, text in record.routes.items() if is_time(at)]
    steps = tuple((at, route) for at, route in sorted(found, key=lambda each: each[0]) if route)
    if steps:
        return steps
    only = _only(record.version)
    return ((0, only),) if only else ()


def with_route(
    record: RegistryRecord, before: RegistryRecord | None, now_ms: int
) -> RegistryRecord:
    """The record of a route with what it says for ids of each time, over what counted before.

    (1) As before. (2) It is the first of its name: nobody has answered an id of it otherwise, or
    so as `before_it` says. (3) Else it is for ids to come: what has an id from before is still
    answered as it was.
    """
    if record.kind is not RegistryKind.ROUTE:
        return record
    steps, wanted = steps_in(before), _wanted(record)
    if wanted is None:
        return record
    # (2), (3)
    if not steps:
        steps = steps_in(record) if record.routes.keys() - {NEXT} else ((0, wanted),)
    if steps[-1][1] != wanted:
        steps = changed(steps, wanted, now_ms)
    routes = {str(at): told(route) for at, route in steps}
    return replace(record, version=main_version(wanted), routes=routes)


def route_facts(
    record: RegistryRecord, before: RegistryRecord | None
) -> Mapping[str, Parameter] | None:
    """What an event says of a route that counts since now; None where nothing is otherwise."""
    now, former = steps_in(record), steps_in(before)
    if not (now and former) or now[-1][1] == former[-1][1]:
        return None
    since_ms, route = now[-1]
    return {
        "former": main_version(former[-1][1]),
        "route": told(route),
        "former_route": told(former[-1][1]),
        "since_ms": since_ms,
    }


def _wanted(record: RegistryRecord) -> Route | None:
    if NEXT in record.routes:
        return _read(record.routes[NEXT])
    steps = steps_in(record)
    return steps[-1][1] if steps else None


def _read(text: str) -> Route | None:
    """What a newer release tells beyond this one is passed over."""
    try:
        found = json.loads(text)
        known = {name: value for name, value in found.items() if name in Route.model_fields}
        return Route.model_validate(known)
    except (ValueError, AttributeError, RecursionError):
        return None


def _only(version: str) -> Route | None:
    try:
        return alone(version)
    except ValidationError:
        return None
