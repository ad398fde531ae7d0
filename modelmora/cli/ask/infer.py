"""`modelmora infer`: ask a model through the gateway."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import typer

from modelmora.cli.ask.portions import PORTION_INPUTS, joined, portions
from modelmora.cli.shared.options import (
    HeadersOption,
    JsonOption,
    ParametersOption,
    PatienceOption,
    PriorityOption,
    finds_instance,
)
from modelmora.cli.shared.output import print_json, say, tell
from modelmora.errors import ConfigurationError
from modelmora.host.instance import Instance
from modelmora.settings import YEAR_S
from modelmora.settings.routes import unfit
from modelmora.text import counted, duration

BULK = "In bulk"
SHOWN = 6
GRACE_S = 5.0
BULK_S = 600.0
"""How long a request of many rows may take, with all its attempts."""

FileOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Rows to ask: .jsonl, .csv, .tsv, .txt or .parquet.",
        rich_help_panel=BULK,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Their answers: .npy, .jsonl or .parquet.", rich_help_panel=BULK
    ),
]
ColumnOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What of a row is asked (text).", rich_help_panel=BULK),
]
GrpcOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The gateway's gRPC, for --stream and --file (that of the instance).",
    ),
]


@finds_instance
def infer(
    where: Instance,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or name@version.")],
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT|-", help="One input each; - reads one per line."),
    ] = None,
    param: ParametersOption = None,
    header: HeadersOption = None,
    priority: PriorityOption = "normal",
    timeout: PatienceOption = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the output as it comes.")] = False,
    file: FileOption = None,
    out: OutOption = None,
    column: ColumnOption = None,
    grpc: GrpcOption = None,
    json: JsonOption = False,
) -> None:
    """Run a model on texts and print its answer; long vectors are shortened without --json.

    Many inputs are sent as several requests; as one with --stream, and where
    they belong together, as for `rerank`. With --file the rows of a file are
    asked, many at a time; broken off, the same command goes on from there.
    """
    if not model:
        raise ConfigurationError("no model is named; `modelmora list` shows them")
    headers = headers_of(header)
    if file or out or column:
        if file is None or out is None or text or stream or json:
            raise ConfigurationError("--file needs --out, and no texts, --stream or --json")
        limit(timeout)
        what = (model, file, out, column)
        _in_bulk(where, what, parameters_of(param), priority, timeout, grpc, headers)
        return
    inputs = read_inputs(text or [])
    for each in inputs:
        each.encode()  # what is no text is refused before anybody is asked
    body: dict[str, Any] = {"parameters": parameters_of(param), "priority": priority}
    body |= limit(timeout)
    if stream and json:
        raise ConfigurationError(
            "--stream prints text as it comes and --json the whole: choose one"
        )
    patience = timeout or where.settings.timing.request_timeout_ms / 1000
    path = f"/infer/{quote(model, safe='@')}"
    if stream:
        from modelmora.cli.ask.streaming import ask_and_show, way_to

        way = way_to(where, grpc, patience, headers=headers)
        answer = ask_and_show(way, model, inputs, body["parameters"], priority)
        show(answer, answer["request_id"], 1)
        return
    if grpc:
        raise ConfigurationError("--grpc is for --stream and --file")
    answers = []
    parts = parts_of(where, model, inputs) if len(inputs) > 1 else [inputs]
    for portion in parts:
        asked = body | {"inputs": portion}
        how = {"json": asked, "headers": headers, "timeout_s": patience + GRACE_S}
        answers.append(where.ask_gateway("POST", path, **how))
    answer = joined(answers)
    if json:
        print_json(answer)
    else:
        show(answer, answers[0]["request_id"], len(answers))


def _in_bulk(
    where: Instance,
    what: tuple[str, Path, Path, str | None],
    parameters: dict[str, Any],
    priority: str,
    timeout: float | None,
    grpc: str | None,
    headers: dict[str, str],
) -> None:
    from modelmora.cli.ask.bulk.rows import Source
    from modelmora.cli.ask.bulk.run import Bulk, bulk

    model, file, out, column = what
    patience = timeout or BULK_S
    asked = Bulk(model, Source(file, column), out, parameters, priority, patience, headers)
    bulk(where, asked, grpc)


def parameters_of(given: list[str] | None) -> dict[str, Any]:
    """What `--param` names. Raises ConfigurationError."""
    return dict(read_parameter(each) for each in given or ())


def headers_of(given: list[str] | None) -> dict[str, str]:
    """What `--header` names. Raises ConfigurationError."""
    found: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals:
            raise ConfigurationError(f"--header {each} must be NAME=VALUE")
        found[name.lower()] = value
    if why := unfit(found):
        raise ConfigurationError(f"--header {why}")
    return found


def limit(timeout: float | None) -> dict[str, int]:
    """How long a request may take, as its body tells it. Raises ConfigurationError."""
    if timeout is None:
        return {}
    if not 0 < timeout <= YEAR_S:
        raise ConfigurationError("--timeout must be more than 0 seconds and at most a year")
    return {"timeout_ms": max(1, round(timeout * 1000))}


def show(answer: dict[str, Any], first_id: str, requests: int) -> None:
    """An answer for people: the outputs as data, the rest as talk."""
    for output in answer["outputs"]:
        for line in lines_of(output):
            tell(line)
    timings = answer.get("timings") or {}
    spent = ", ".join(
        f"{name.removesuffix('_ms')} {duration(value)}" for name, value in timings.items() if value
    )
    ids = f"id {first_id}"
    if requests > 1:
        ids = f"{counted(requests, 'request')}, first {ids}"
    say(f"{answer['model']}@{answer['version']}  {spent}  {ids}")


def parts_of(where: Instance, model: str, inputs: list[str]) -> Iterable[list[str]]:
    """The inputs of each request, by what the gateway knows of the model."""
    sizes = sizes_of(where, model)
    return [inputs] if sizes.together else portions(inputs, sizes.most)


class Sizes(NamedTuple):
    """How many inputs a request of a model may have, and whether they may be sent in parts."""

    most: int
    together: bool
    stepped: bool
    """Its answers are long, each computed in steps of its own."""


def sizes_of(where: Instance, model: str) -> Sizes:
    """What the gateway knows of the model."""
    name, _, version = model.partition("@")
    found = [
        each
        for each in where.ask_gateway("GET", "/models")["models"]
        if each["name"] == name and version in ("", each["version"])
    ]
    from modelmora.engines.catalog import entry_for

    entries = [entry for each in found if (entry := entry_for(each.get("task", "")))]
    limits = (each["max_inputs"] for each in found)
    return Sizes(
        min([PORTION_INPUTS, *(most for most in limits if most)]),
        any(entry.together for entry in entries),
        any(entry.slots is not None for entry in entries),
    )


def read_inputs(texts: list[str]) -> list[str]:
    """The inputs: those given, or one per line of standard input for `-` or nothing at a pipe.

    A blank line is an input too, so that answers stand in the order of lines.
    """
    if texts and texts != ["-"]:
        return texts
    if not texts and sys.stdin.isatty():
        raise ConfigurationError("nothing to infer; pass one or more texts, or - to read lines")
    try:
        given = sys.stdin.read()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"standard input is not UTF-8 text (byte {error.start}); convert it, as with iconv(1)"
        ) from None
    if not given:
        raise ConfigurationError("standard input is empty; write one input per line")
    return [line.removesuffix("\r") for line in given.removesuffix("\n").split("\n")]


def read_parameter(given: str) -> tuple[str, Any]:
    """`key=value`; the value is a JSON scalar or list, else text. Raises ConfigurationError."""
    key, equals, value = given.partition("=")
    if not key or not equals:
        raise ConfigurationError(f"--param {given} must be KEY=VALUE")
    try:
        parsed = json_text.loads(value, parse_constant=_no_number)
    except ValueError:
        return key, value
    return key, value if isinstance(parsed, dict) else parsed


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def lines_of(output: Any) -> list[str]:
    """One output for people: text as it is, tensors row by row and shortened."""
    if isinstance(output, str):
        return output.split("\n")
    if isinstance(output, dict) and "shape" in output:
        head = f"{output.get('name', 'tensor')} {output.get('dtype', '')} {output['shape']}"
        rows = output.get("data") or []
        nested = rows and isinstance(rows[0], list)
        return [head, *("  " + shortened(row) for row in (rows if nested else [rows]))]
    if isinstance(output, dict) and isinstance(output.get("bytes"), str):
        return [f"{len(output['bytes']) * 3 // 4} bytes; --json shows them"]
    return [json_text.dumps(output, ensure_ascii=False)]


def shortened(row: list[Any]) -> str:
    """The first numbers of a vector, and how many there are."""
    shown = " ".join(f"{x:+.4f}" if isinstance(x, float) else str(x) for x in row[:SHOWN])
    return shown if len(row) <= SHOWN else f"{shown} … ({len(row)})"
