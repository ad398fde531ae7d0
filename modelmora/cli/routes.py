"""`modelmora routes`: which versions answer for a name, and in which shares."""

from __future__ import annotations

import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say, tell
from modelmora.cli.shared.routes import (
    idle_shadows,
    read_rule,
    read_shadows,
    read_weights,
    rule_text,
    shadows,
    shares,
)
from modelmora.errors import ConfigurationError
from modelmora.host.instance import Instance
from modelmora.messages import State
from modelmora.text import local_clock

app = typer.Typer(
    help="Which versions answer for a name: shares, what they stick to, rules before them.",
    no_args_is_help=True,
)
HOW = ("VERSIONS", "STICKY", "RULES", "SHADOW")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What requests call it.")]


@app.command("list")
@finds_instance
def list_routes(where: Instance, json: JsonOption = False) -> None:
    """List the names, and by which versions each is answered."""
    found = where.ask_gateway("GET", "/routes")["routes"]
    if json:
        print_json(found)
    elif found:
        rows = [(each["name"], *_how(each)) for each in found]
        print_table(("NAME", *HOW), rows)
    else:
        say("no model is registered")


@app.command("show")
@finds_instance
def show(where: Instance, name: NameArgument, json: JsonOption = False) -> None:
    """Show how a name is answered, and how requests from before are."""
    found = where.ask_gateway("GET", _path(name))
    if json:
        print_json(found)
        return
    steps = [*found["before"], found]
    print_table(("SINCE", *HOW), [(_since(each["since_ms"]), *_how(each)) for each in steps])


@app.command("set")
@finds_instance
def set_route(
    where: Instance,
    name: NameArgument,
    weights: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VERSION=WEIGHT]...", help="Shares; a version alone has all."),
    ] = None,
    sticky: Annotated[
        str | None,
        typer.Option(
            metavar="BY",
            help="What always gets the same version: id, principal, header:NAME, parameter:NAME.",
        ),
    ] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="HEADER=VALUE:VERSION", help="Or lane=LANE:VERSION."),
    ] = None,
    no_rules: Annotated[bool, typer.Option("--no-rules", help="Take all rules away.")] = False,
    shadow: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION=PERCENT", help="Copy so many of the requests to a version."),
    ] = None,
    no_shadow: Annotated[bool, typer.Option("--no-shadow", help="Copy nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Say which versions answer for a name; what is not given stays as it is.

    Rules come before weights, the first that fits answers, and those given take the place of all
    there were. It counts for requests that are made ten seconds later.
    """
    if rules and no_rules:
        raise ConfigurationError("give --rule or --no-rules, not both")
    if shadow and no_shadow:
        raise ConfigurationError("give --shadow or --no-shadow, not both")
    if not (weights or sticky or rules or no_rules or shadow or no_shadow):
        raise ConfigurationError(
            "say what is to change: VERSION=WEIGHT, --sticky, --rule, --shadow"
        )
    known = where.ask_gateway("GET", _path(name))
    fields = ("weights", "sticky", "rules", "shadow")
    route: dict[str, Any] = {field: known[field] for field in fields}
    route |= {"weights": read_weights(weights)} if weights else {}
    route |= {"sticky": sticky} if sticky else {}
    route |= {"rules": [read_rule(each) for each in rules or ()]} if rules or no_rules else {}
    route |= {"shadow": read_shadows(shadow or ())} if shadow or no_shadow else {}
    seen = {"if-match": known["etag"]} if known["etag"] else {}
    found = where.ask_gateway("PUT", _path(name), json=route, headers=seen)
    if json:
        print_json(found)
        return
    _tell(name, found)
    _say_failed(where, name, found)


def _tell(name: str, route: dict[str, Any]) -> None:
    """How it is answered from now on, and by what nobody would notice."""
    copied = shadows(route)
    tell(f"{name}: {shares(route)}" + (f"; copies to {copied}" if copied else ""))
    for version in idle_shadows(route):
        say(f"{name}@{version} answers all of it itself, so it gets no copies")
    if route["since_ms"] > time.time_ns() // 1_000_000:
        say(f"it counts for requests that are made from {_since(route['since_ms'])} on")


def _say_failed(where: Instance, name: str, route: dict[str, Any]) -> None:
    """Name what is to answer and cannot: it may be mended before the route counts."""
    answering = {version for version, weight in route["weights"].items() if weight}
    answering |= {rule["version"] for rule in route["rules"]}
    for each in where.ask_gateway("GET", f"/models/{quote(name, safe='')}")["versions"]:
        if each["version"] in answering and each["state"] in (State.FAILED, State.QUARANTINED):
            say(f"{name}@{each['version']} is {each['state']} on all nodes: {each['reason']}")


def _path(name: str) -> str:
    return f"/models/{quote(name, safe='')}/route"


def _how(route: dict[str, Any]) -> tuple[str | None, ...]:
    return shares(route), _sticky(route), _rules(route), shadows(route)


def _sticky(route: dict[str, Any]) -> str | None:
    """Nothing where there is nothing to choose."""
    several = sum(map(bool, route["weights"].values())) > 1
    return route["sticky"] if several else None


def _rules(route: dict[str, Any]) -> str | None:
    return " ".join(map(rule_text, route["rules"])) or None


def _since(milliseconds: int) -> str | None:
    if not milliseconds:
        return None
    return local_clock(milliseconds, "%m-%d %H:%M:%S")
