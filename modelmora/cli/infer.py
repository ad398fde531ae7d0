"""`modelmora infer`: ask a model through the gateway."""

from __future__ import annotations

import json as json_text
import sys
from typing import Annotated, Any, Literal

import typer

from modelmora.cli.options import ConfigOption, DataDirOption, JsonOption, settings_of
from modelmora.cli.output import print_json, say, tell
from modelmora.errors import ConfigurationError
from modelmora.host.instance import call, gateway_url
from modelmora.text import duration

SHOWN = 6
GRACE_S = 5.0


def infer(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="name or name@version.")],
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT|-", help="One input each; - reads one per line."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="KEY=VALUE", help="A parameter; may be repeated."),
    ] = None,
    priority: Annotated[
        Literal["critical", "high", "normal", "low"], typer.Option(help="Which lane.")
    ] = "normal",
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Give up after this long.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="The gateway (of the running instance).")
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Run a model on texts and print its answer; long vectors are shortened without --json."""
    inputs = read_inputs(text or [])
    parameters = dict(read_parameter(given) for given in param or ())
    settings = settings_of(config, data_dir)
    base = (url or gateway_url(settings)).rstrip("/")
    body: dict[str, Any] = {"inputs": inputs, "parameters": parameters, "priority": priority}
    if timeout is not None:
        if timeout <= 0:
            raise ConfigurationError("--timeout must be more than 0 seconds")
        body["timeout_ms"] = max(1, round(timeout * 1000))
    patience = timeout or settings.timing.request_timeout_ms / 1000
    answer = call("POST", f"{base}/infer/{model}", json=body, timeout_s=patience + GRACE_S)
    if json:
        print_json(answer)
        return
    for output in answer["outputs"]:
        for line in lines_of(output):
            tell(line)
    timings = answer.get("timings") or {}
    spent = ", ".join(
        f"{name.removesuffix('_ms')} {duration(value)}" for name, value in timings.items() if value
    )
    say(f"{answer['model']}@{answer['version']}  {spent}  id {answer['request_id']}")


def read_inputs(texts: list[str]) -> list[str]:
    """The inputs: those given, or one per line of standard input for `-` or nothing at a pipe."""
    if texts and texts != ["-"]:
        return texts
    if not texts and sys.stdin.isatty():
        raise ConfigurationError("nothing to infer; pass one or more texts, or - to read lines")
    if inputs := [line for line in sys.stdin.read().splitlines() if line]:
        return inputs
    raise ConfigurationError("standard input is empty; write one input per line")


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
        return [output]
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
