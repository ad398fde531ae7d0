"""`modelmora budgets`: how much principals may use, told on the registry."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say
from modelmora.errors import ConfigurationError
from modelmora.host.instance import Instance
from modelmora.settings.budgets import PARTS, UNITS
from modelmora.settings.rights import LANES

app = typer.Typer(help="How much principals may use.", no_args_is_help=True)
ALL = "all"
_RATE = re.compile(r"(\d+)(?:/(second|minute))?(?::(\d+))?", re.ASCII)
NameArgument = Annotated[str, typer.Argument(metavar="BUDGET", help="Its name.")]
RATE = "AMOUNT[/second|/minute][:BURST]"


@app.command("list")
@finds_instance
def list_budgets(where: Instance, json: JsonOption = False) -> None:
    """List the budgets that count at the gateway."""
    found = where.ask_gateway("GET", "/budgets")["budgets"]
    if json:
        print_json(found)
    elif found:
        print_table(
            ("BUDGET", "TOLD BY", "PRINCIPALS", "MODELS", "LANES", "EACH", "LIMITS"),
            [_row(each["name"], each["told_by"], each["budget"]) for each in found],
            drop=("TOLD BY", "LANES", "MODELS"),
        )
    else:
        say("no budget is told: everybody may use what there is")


@app.command("set")
@finds_instance
def set_budget(
    where: Instance,
    name: NameArgument,
    principals: Annotated[
        list[str] | None,
        typer.Option("--principal", metavar="NAME", help="Whose, * for any characters."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="Of which models, * for any characters."),
    ] = None,
    lanes: Annotated[
        list[str] | None, typer.Option("--lane", metavar="LANE", help="In which lanes.")
    ] = None,
    each: Annotated[
        list[str] | None,
        typer.Option(
            "--each",
            metavar="PART",
            help="Who has one of their own: principal (so without it), model, lane; "
            "all: they share one.",
        ),
    ] = None,
    requests: Annotated[str | None, typer.Option(metavar=RATE, help="How many requests.")] = None,
    tokens: Annotated[str | None, typer.Option(metavar=RATE, help="How many tokens.")] = None,
    pixels: Annotated[str | None, typer.Option(metavar=RATE, help="How many pixels.")] = None,
    device_ms: Annotated[
        str | None, typer.Option("--device-ms", metavar=RATE, help="Milliseconds of devices.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Tell a budget; it counts at all gateways and nodes within a second.

    So much comes back in each minute, or second; BURST may be used at once after a rest.
    """
    rates = dict(zip(UNITS, (requests, tokens, pixels, device_ms), strict=True))
    told: dict[str, Any] = {unit: _rate(unit, text) for unit, text in rates.items() if text}
    if not told:
        raise ConfigurationError("a budget limits something; give --requests or another")
    told |= {"principals": principals} if principals else {}
    told |= {"models": models} if models else {}
    told |= {"lanes": lanes} if lanes else {}
    if each:
        told["each"] = [] if each == [ALL] else each
    found = where.ask_gateway("PUT", "/budgets", json={"name": name, "budget": told})
    _done(found, f"budget {name} counts now", json=json)


@app.command("remove")
@finds_instance
def remove(where: Instance, name: NameArgument, json: JsonOption = False) -> None:
    """Take a budget away."""
    found = where.ask_gateway("PUT", "/budgets", json={"name": name, "budget": None})
    _done(found, f"budget {name} is no more", json=json)


def _rate(unit: str, text: str) -> dict[str, Any]:
    found = _RATE.fullmatch(text)
    if found is None:
        option = unit.replace("_", "-")
        raise ConfigurationError(f"--{option} {text}: is {RATE}, such as 600/minute:50")
    amount, per, burst = found.groups()
    rate: dict[str, Any] = {"amount": int(amount)}
    rate |= {"per": per} if per else {}
    return rate | ({"burst": int(burst)} if burst else {})


def _row(name: str, told_by: str, budget: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        told_by,
        " ".join(budget["principals"]),
        " ".join(budget["models"]),
        ALL if len(budget["lanes"]) == len(LANES) else " ".join(budget["lanes"]),
        " ".join(part for part in PARTS if part in budget["each"]) or ALL,
        ", ".join(_limit(unit, budget[unit]) for unit in UNITS if budget[unit]),
    )


def _limit(unit: str, rate: dict[str, Any]) -> str:
    burst = f":{rate['burst']}" if rate["burst"] else ""
    return f"{unit} {rate['amount']}/{rate['per']}{burst}"


def _done(found: Any, words: str, *, json: bool) -> None:
    if json:
        print_json(found["budgets"])
    say(words)
