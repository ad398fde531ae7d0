"""`modelmora apply` and `activate`: the registry brought to what files, or a person, say."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from modelmora.cli.shared.agreeing import agreed
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, say, tell
from modelmora.cli.shared.routes import shares
from modelmora.engines.catalog import entry_for
from modelmora.engines.entries import for_model
from modelmora.errors import ConfigurationError, ModelMoraError, NotFound
from modelmora.host.instance import Instance
from modelmora.registry.declared import Declared, read_declared
from modelmora.registry.plan import Do, Key, Registered, Step, plan, with_routes
from modelmora.text import counted, shorten

SHOWN = 60
PAGE = 1000
_SIGNS = {Do.ADD: "+", Do.CHANGE: "~", Do.ACTIVATE: "*", Do.ROUTE: ">", Do.RETIRE: "-"}


@finds_instance
def apply(
    where: Instance,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a folder of files.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Retire what the files do not name.")
    ] = False,
    json: JsonOption = False,
) -> int | None:
    """Bring the registry to what files say: the plan first, and then, if you agree, its steps.

    Models that nodes declare themselves (installed, or in their settings) are never retired.
    """
    declared = read_declared(path)
    _check_parameters(declared)
    wanted = declared.models
    keys = [(each.name, each.version) for each in wanted]
    steps = plan(wanted, registered(where, keys, everything=prune), prune=prune)
    steps = with_routes(steps, declared.routes, _routes(where, declared.routes))
    if json:
        print_json([_shown(step) for step in steps])
    else:
        for step in steps:
            tell(_line(step))
    if not steps:
        say(f"nothing to do: {_counted(declared)} as the files say")
        return None
    say(_summary(steps))
    if not agreed("do it?", yes=yes):
        say("nothing was changed")
        return 1
    for step in steps:
        _take(where, step)
    say("done")
    return None


@finds_instance
def activate(
    where: Instance,
    model: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="What is to answer; a version of it.")
    ],
    default: Annotated[
        bool, typer.Option("--default", help="Let it answer for its task too.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Let a version answer where requests name none; until now it was another.

    With `--default` the model also answers requests that name its task alone, by the version that
    is active then, so that none need be given.
    """
    name, at, version = model.partition("@")
    if not name or (not version and (at or not default)):
        raise ConfigurationError(f"{model} must be NAME@VERSION; `modelmora list` shows them")
    chosen = ({"active": version} if version else {}) | ({"default": True} if default else {})
    found = where.ask_gateway("PATCH", _path(name), json=chosen)
    if json:
        print_json(found)
        return
    answers = f"{name}@{found['active']}"
    tell(answers)
    if version:
        say(f"requests that name {name} alone, and are made in 10 s or later, go to {answers}")
    if default:
        tasks = ", ".join(found["default_for"])
        say(f"requests that name the task {tasks} alone go to {answers} now")


def _check_parameters(declared: Declared) -> None:
    """Raises ConfigurationError where an engine that is known here does not take them."""
    for model in declared.models:
        if entry := entry_for(model.task, testing=True, engine=model.engine):
            try:
                for_model(entry, model.parameters, model.options, model.engine)
            except ModelMoraError as error:
                where = declared.places[model.name, model.version]
                raise ConfigurationError(f"{where}: {model.name}: {error}") from None


def registered(where: Instance, keys: list[Key], *, everything: bool) -> dict[Key, Registered]:
    """Those of these that the gateway knows; with `everything` also that others are there."""
    found: dict[Key, Registered] = {}
    for each in _pages(where) if everything else ():
        key = (each["name"], each["version"])
        found[key] = Registered(each, each["active"], each["declared"])
    for name, version in keys:
        try:
            entry = where.ask_gateway("GET", _path(name, version))
        except NotFound:
            continue
        if entry["state"] != "retired":
            found[name, version] = Registered(
                entry, entry["active"], entry["declared"], entry["etag"]
            )
    return found


def _routes(where: Instance, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How these names are answered, of those that the gateway knows."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        with suppress(NotFound):
            found[name] = where.ask_gateway("GET", f"{_path(name)}/route")
    return found


def _counted(declared: Declared) -> str:
    told = counted(len(declared.models), "model")
    return f"{told} and {counted(len(declared.routes), 'route')}" if declared.routes else told


def _pages(where: Instance) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = urlencode({"limit": PAGE, **({"cursor": cursor} if cursor else {})})
        page = where.ask_gateway("GET", f"/models?{query}")
        found += page["models"]
        cursor = page["next"]
    return found


def _path(name: str, version: str | None = None) -> str:
    path = f"/models/{quote(name, safe='')}"
    return path if version is None else f"{path}/versions/{quote(version, safe='')}"


def _take(where: Instance, step: Step) -> None:
    name, version = step.key
    seen = {"if-match": step.etag} if step.etag else {}
    match step.do:
        case Do.ADD:
            where.ask_gateway("POST", "/models", json=dict(step.fields))
        case Do.CHANGE:
            fields = dict(step.fields)
            where.ask_gateway("PATCH", _path(name, version), json=fields, headers=seen)
        case Do.ACTIVATE:
            where.ask_gateway("PATCH", _path(name), json={"active": version})
        case Do.ROUTE:
            route = dict(step.fields)
            where.ask_gateway("PUT", f"{_path(name)}/route", json=route, headers=seen)
        case Do.RETIRE:
            where.ask_gateway("DELETE", _path(name, version), headers=seen)


def _line(step: Step) -> str:
    model = "@".join(filter(None, step.key))
    match step.do:
        case Do.ADD:
            told = f"{step.fields['task']} from {step.fields['source']}"
        case Do.CHANGE:
            told = ", ".join(
                f"{name}: {_value(step.former[name])} -> {_value(value)}"
                for name, value in step.fields.items()
            )
        case Do.ACTIVATE:
            told = f"answers for {step.key[0]}"
        case Do.ROUTE:
            told = f"is answered by {shares(step.fields)}"
        case Do.RETIRE:
            told = "is retired"
    return f"{_SIGNS[step.do]} {model}  {told}"


def _value(value: Any) -> str:
    return shorten(json_text.dumps(value, ensure_ascii=False), SHOWN)


def _shown(step: Step) -> dict[str, Any]:
    return {
        "do": step.do.value,
        "name": step.key[0],
        "version": step.key[1],
        "fields": dict(step.fields),
        "former": dict(step.former),
    }


def _summary(steps: tuple[Step, ...]) -> str:
    told = [(sum(step.do is do for step in steps), do.value) for do in Do]
    return ", ".join(f"{count} to {word}" for count, word in told if count)
