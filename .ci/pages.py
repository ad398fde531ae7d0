"""The pages of the documentation that are made from the code: commands, schemas, AsyncAPI."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import islice
from typing import Any, Literal, get_args, get_origin

import typer
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from modelmora.cli.app import VERBS, build, commands_of
from modelmora.kafka.asyncapi import document
from modelmora.kafka.topics import TABLE
from modelmora.wire.schemas import NAMES, header_of, read_schema

SHARED = 5
"""An option that so many verbs have is told once."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """What mkdocs calls when it has found the files of docs/."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """The text of each generated page by its path below docs/."""
    return {
        "reference/cli.md": "\n".join(command_line()) + "\n",
        "reference/schemas.md": "\n".join(schemas()) + "\n",
        "reference/asyncapi.yaml": asyncapi(),
    }


def asyncapi() -> str:
    """The document of the topics, for tools to read."""
    return yaml.safe_dump(document("modelmora", metadata.version("modelmora")), sort_keys=False)


def table(*header: str, rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A table; a cell is one line, and a bar in it is between backticks."""
    for row in (header, ("---",) * len(header), *rows):
        yield "| " + " | ".join(" ".join(cell.split()) for cell in row) + " |"
    yield ""


def command_line() -> Iterator[str]:
    """Every verb with its arguments and options, in the order and panels of the help."""
    app: Any = typer.main.get_command(build())
    verbs = {verb: list(leaves(app.commands[verb], verb)) for verb in VERBS}
    rows = Counter(row for told in verbs.values() for _, leaf in told for row in options(leaf))
    shared = [row for row, times in rows.items() if times >= SHARED]
    yield "# Command line\n"
    yield f"{app.help}\n"
    yield "`modelmora --help` and `modelmora VERB --help` say the same.\n"
    panel = ""
    for verb, (shelf, _) in VERBS.items():
        if shelf != panel:
            panel = shelf
            yield f"## {panel}\n"
        for name, leaf in verbs[verb]:
            yield from command(leaf, name, shared)
    yield "## Common options\n"
    yield from table("option", "meaning", rows=shared)
    yield "## Exit codes\n"
    yield f"{app.epilog.removeprefix('Exit codes: ').rstrip('.')}.\n"


def leaves(told: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The verbs that can be called, by name: this one, or those below it."""
    for path, each in commands_of(told, (name,)):
        if not hasattr(each, "commands"):
            yield " ".join(path), each


def options(told: Any) -> list[tuple[str, str]]:
    """(as it is typed, what it means) of every argument and option."""
    return [(spelled(param), meaning(param)) for param in told.params if not param.hidden]


def command(told: Any, name: str, shared: list[tuple[str, str]]) -> Iterator[str]:
    """One verb: how it is called, what it does, its own options and which of the common ones."""
    arguments = [param for param in told.params if param.param_type_name == "argument"]
    optional = ["[OPTIONS]"] if len(told.params) > len(arguments) else []
    yield f"### {name}\n"
    yield f"```text\nmodelmora {' '.join([name, *optional, *map(argument, arguments)])}\n```\n"
    yield f"{told.help.strip()}\n"
    rows = options(told)
    if own := [row for row in rows if row not in shared]:
        yield from table("option", "meaning", rows=own)
    if common := [row[0].split()[0].strip("`") for row in rows if row in shared]:
        yield f"[Also](#common-options): {', '.join(f'`{option}`' for option in common)}.\n"


def argument(param: Any) -> str:
    """An argument as the help's first line has it."""
    word = param.metavar or param.name.upper()
    word = word if param.required else f"[{word.strip('[]')}]"
    return f"{word}..." if param.nargs != 1 else word


def spelled(param: Any) -> str:
    """An option or argument as it is typed, with a word for its value."""
    if param.param_type_name == "argument":
        return f"`{argument(param)}`"
    value = "" if getattr(param, "is_flag", False) else f" {value_of(param)}"
    return ", ".join(f"`{spelling}{value}`" for spelling in (*param.opts, *param.secondary_opts))


def value_of(param: Any) -> str:
    """The word for what an option takes."""
    annotation = param.type_descriptor.annotation
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    return str(param.metavar or {int: "N", float: "N"}.get(annotation, "TEXT"))


def meaning(param: Any) -> str:
    """The help of a parameter with the default that the option itself has."""
    default = "" if param.default in (None, False, (), []) else f" Default: `{param.default}`."
    repeated = getattr(param, "multiple", False) and "repeated" not in (param.help or "")
    return f"{plain(param.help or '')}{default}{' May be repeated.' if repeated else ''}"


def schemas() -> Iterator[str]:
    """Every field of every schema, with the records that are first met inside it."""
    written = [spec.value for spec in TABLE.values()]
    records = {read_schema(name)["name"]: name for name in NAMES}
    met: list[dict[str, Any]] = []
    yield "# Schemas\n"
    yield (
        "Every field of every message, from `schemas/*.avsc`, in the order in which they are "
        "written. [Topics](topics.md) says which lies where. A field without a default must be "
        "given. The header is the ten bytes before a value in single-object encoding.\n"
    )
    for record in sorted(records, key=[*written, *records].index):
        name = records[record]
        schema = read_schema(name)
        yield f"## {record}\n"
        yield f"{plain(schema['doc'])}\n"
        yield f"`schemas/{name}.avsc`, header `{header_of(schema).hex()}`\n"
        if record not in written:
            yield "Not written to any topic yet.\n"
        known = len(met)
        yield from fields(schema, met)
        for inner in islice(met, known, None):  # grows while records inside records are met
            yield f"### {inner['name']}\n"
            yield f"{plain(inner['doc'])}\n"
            yield from fields(inner, met)


def fields(record: dict[str, Any], met: list[dict[str, Any]]) -> Iterator[str]:
    """The table of a record; records inside it are added to `met`."""
    rows = [
        (
            f"`{field['name']}`",
            kind(field["type"], met),
            f"`{json.dumps(field['default'])}`" if "default" in field else "",
            plain(field["doc"]),
        )
        for field in record["fields"]
    ]
    yield from table("field", "type", "default", "meaning", rows=rows)


def kind(told: Any, met: list[dict[str, Any]]) -> str:
    """An Avro type in words."""
    if isinstance(told, str):
        return told
    if isinstance(told, list):
        words = [kind(one, met) for one in told]
        return f"{', '.join(words[:-1])} or {words[-1]}"
    match told["type"]:
        case "array":
            return f"list of {kind(told['items'], met)}"
        case "map":
            return f"map of {kind(told['values'], met)}"
        case "enum":
            return " ".join(f"`{symbol}`" for symbol in told["symbols"])
        case _:
            if told not in met:
                met.append(told)
            return f"[{told['name']}](#{told['name'].lower()})"


def plain(text: str) -> str:
    """Text of which markdown would make HTML or cells, made to be shown."""
    return text.replace("<", "&lt;").replace("|", "&#124;")
