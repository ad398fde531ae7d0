"""`modelmora infer`: ask a model through the gateway."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import quote

import typer

from modelmora.cli.ask.portions import PORTION_INPUTS, joined, portions
from modelmora.cli.shared.options import (
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
from modelmora.text import counted, duration

SHOWN = 6
GRACE_S = 5.0


@finds_instance
def infer(
    where: Instance,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or name@version.")],
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT|-", help="One input each; - reads one per line."),
    ] = None,
    param: ParametersOption = None,
    priority: PriorityOption = "normal",
    timeout: PatienceOption = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the output as it comes, from `progress`.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run a model on texts and print its answer; long vectors are shortened without --json.

    Many inputs are sent as several requests; as one with --stream, and where they belong
    together, as for `rerank`.
    """
    if not model:
        raise ConfigurationError("no model is named; `modelmora list` shows them")
    inputs = read_inputs(text or [])
    for each in inputs:
        each.encode()  # what is no text is refused before anybody is asked
    parameters = dict(read_parameter(given) for given in param or ())
    body: dict[str, Any] = {"parameters": parameters, "priority": priority} | _limit(timeout)
    if stream and json:
        raise ConfigurationError(
            "--stream prints text as it comes and --json the whole: choose one"
        )
    patience = timeout or where.settings.timing.request_timeout_ms / 1000
    path = f"/infer/{quote(model, safe='@')}"
    if stream:
        from modelmora.cli.ask.streaming import ask_and_show

        asked = body | {"inputs": inputs}
        answer, printed = ask_and_show(where, path, asked, patience + GRACE_S)
        _show(answer if not printed else answer | {"outputs": []}, answer["request_id"], 1)
        return
    answers = []
    parts = parts_of(where, model, inputs) if len(inputs) > 1 else [inputs]
    for portion in parts:
        asked = body | {"inputs": portion}
        answers.append(where.ask_gateway("POST", path, json=asked, timeout_s=patience + GRACE_S))
    answer = joined(answers)
    if json:
        print_json(answer)
    else:
        _show(answer, answers[0]["request_id"], len(answers))


def _limit(timeout: float | None) -> dict[str, int]:
    """How long a request may take, as its body tells it. Raises ConfigurationError."""
    if timeout is None:
        return {}
    if not 0 < timeout <= YEAR_S:
        raise ConfigurationError("--timeout must be more than 0 seconds and at most a year")
    return {"timeout_ms": max(1, round(timeout * 1000))}


def _show(answer: dict[str, Any], first_id: str, requests: int) -> None:
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
    name, _, version = model.partition("@")
    found = [
        each
        for each in where.ask_gateway("GET", "/models")["models"]
        if each["name"] == name and version in ("", each["version"])
    ]
    from modelmora.engines.catalog import entry_for

    entries = (entry_for(each.get("task", "")) for each in found)
    if any(entry and entry.together for entry in entries):
        return [inputs]
    limits = (each["max_inputs"] for each in found)
    return portions(inputs, min([PORTION_INPUTS, *(most for most in limits if most)]))


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
