"""`modelmora canary`: a version takes over a name in steps, unless it is worse."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any
from urllib.parse import quote

import typer

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import minute, print_json, print_table, say, tell
from modelmora.errors import ConfigurationError
from modelmora.host.instance import Instance

app = typer.Typer(
    help="Let a version take over a name in steps, judged by its outcomes.",
    no_args_is_help=True,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What requests call it.")]


@app.command("start")
@finds_instance
def start(
    where: Instance,
    name: NameArgument,
    candidate: Annotated[str, typer.Argument(metavar="VERSION", help="What is to take over.")],
    steps: Annotated[
        str | None,
        typer.Option(metavar="PERCENT,...", help="Its share at each step (5,25,50,100)."),
    ] = None,
    hold_s: Annotated[
        float | None,
        typer.Option("--hold", metavar="SECONDS", help="How long a step is held at least (600)."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(metavar="N", help="Outcomes of each version without which none is judged."),
    ] = None,
    more_errors: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="By how much more of them may fail (0.01)."),
    ] = None,
    slower: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", help="By which factor they may take longer (1.2)."),
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="How far its answers to copies must agree with the other's."
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="How sure it must be that it is worse (0.99)."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Let a version take over a name from the one that answers.

    Each step counts ten seconds later, and is held until both have enough outcomes. A candidate
    that surely fails more, or is slower, is rolled back at once.
    """
    given = {
        "steps": None if steps is None else _read_steps(steps),
        "hold_s": hold_s,
        "samples": samples,
        "more_errors": more_errors,
        "slower": slower,
        "confidence": confidence,
        "agreement": agreement,
    }
    plan = {field: value for field, value in given.items() if value is not None}
    for field, value in plan.items():
        if isinstance(value, float) and not isfinite(value):
            raise ConfigurationError(f"{field} must be a number, not {value}")
    found = where.ask_gateway("POST", _path(name), json={"candidate": candidate, **plan})
    if json:
        print_json(found)
    else:
        tell(f"{_share(found)}; `modelmora canary show {name}` tells how it goes on")


@app.command("list")
@finds_instance
def list_canaries(where: Instance, json: JsonOption = False) -> None:
    """List the last canary of each name."""
    found = where.ask_gateway("GET", "/canaries")["canaries"]
    if json:
        print_json(found)
    elif found:
        rows = [
            (each["name"], _versions(each), _standing(each), f"{each['percent']} %", each["why"])
            for each in found
        ]
        print_table(("NAME", "VERSIONS", "STANDING", "SHARE", "WHY"), rows)
    else:
        say("there is no canary; `modelmora canary start NAME VERSION` begins one")


@app.command("show")
@finds_instance
def show(where: Instance, name: NameArgument, json: JsonOption = False) -> None:
    """Show how a canary stands, and by which numbers."""
    found = where.ask_gateway("GET", _path(name))
    if json:
        print_json(found)
        return
    plan, numbers = found["plan"], found["numbers"]
    steps = ", ".join(map(str, plan["steps"]))
    tell(f"{name}: {_standing(found)}, as of {minute(found['at_ms'])}: {_share(found)}")
    tell(f"why: {found['why']}")
    tell(f"plan: {steps} %, each held for {plan['hold_s']:g} s at least")
    if not numbers:
        return
    tell()
    columns = ("requests", "failed_share", "p50_ms", "p95_ms")
    rows = [
        (version, whose, *(_number(numbers, f"{whose}_{each}") for each in columns))
        for whose, version in (("candidate", plan["candidate"]), ("baseline", found["baseline"]))
    ]
    print_table(("VERSION", "IS", "OUTCOMES", "FAILED", "P50 MS", "P95 MS"), rows)


@app.command("abort")
@finds_instance
def abort(where: Instance, name: NameArgument, json: JsonOption = False) -> None:
    """End a canary: the baseline answers alone again, for what is made ten seconds later."""
    found = where.ask_gateway("DELETE", _path(name))
    if json:
        print_json(found)
    else:
        tell(f"{name}: {_standing(found)}, {found['baseline']} answers alone")


def _path(name: str) -> str:
    return f"/models/{quote(name, safe='')}/canary"


def _read_steps(given: str) -> list[int]:
    """Raises ConfigurationError."""
    parts = [each.strip().removesuffix("%").strip() for each in given.split(",")]
    if not all(each.isascii() and each.isdecimal() and len(each) < 4 for each in parts):
        raise ConfigurationError(f"--steps {given} must be percents, such as 5,25,50,100")
    return [int(each) for each in parts]


def _versions(found: dict[str, Any]) -> str:
    return f"{found['baseline']} to {found['plan']['candidate']}"


def _share(found: dict[str, Any]) -> str:
    step, steps = found["step"], len(found["plan"]["steps"])
    return f"{found['plan']['candidate']} at {found['percent']} % (step {step} of {steps})"


def _standing(found: dict[str, Any]) -> str:
    return str(found["standing"]).replace("_", " ")


def _number(numbers: dict[str, float], name: str) -> str | None:
    value = numbers.get(name)
    if value is None:
        return None
    return f"{value:.2%}" if name.endswith("_share") else f"{value:g}"
