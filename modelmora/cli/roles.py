"""`modelmora roles`: who may do what: roles told and granted on the registry, and asked."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelmora.access.rights import Rights, Rule, Told, Verb
from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say, tell
from modelmora.errors import NotFound
from modelmora.host.instance import Instance
from modelmora.messages import Lane
from modelmora.settings.rights import BUILT_IN
from modelmora.text import counted

app = typer.Typer(help="Who may do what: roles, and whose they are.", no_args_is_help=True)
NOT_ALLOWED = 1
COMMON = "registry"
LANES = {lane.label: lane for lane in Lane}
RoleArgument = Annotated[str, typer.Argument(metavar="ROLE", help="Its name.")]
RolesArgument = Annotated[list[str], typer.Argument(metavar="ROLE...", help="Their names.")]
PrincipalArgument = Annotated[
    str, typer.Argument(metavar="PRINCIPAL", help="Whose; * in it for any characters.")
]


@app.command("list")
@finds_instance
def list_roles(where: Instance, json: JsonOption = False) -> None:
    """List what counts at the gateway: roles, and to whom they are granted."""
    found = where.ask_gateway("GET", "/roles")
    if json:
        print_json(found)
        return
    print_table(
        ("ROLE", "TOLD BY", "EFFECT", "VERBS", "MODELS", "LANES"),
        [
            (
                role["name"],
                _words(role["told_by"]),
                rule["effect"],
                _all_or(rule["verbs"], len(Verb)),
                " ".join(rule["models"]),
                _all_or(rule["lanes"], len(LANES)),
            )
            for role in found["roles"]
            for rule in role["rules"]
        ],
        drop=("TOLD BY", "LANES"),
    )
    if found["grants"]:
        tell()
        print_table(
            ("PRINCIPAL", "TOLD BY", "ROLES"),
            [(e["principal"], _words(e["told_by"]), " ".join(e["roles"])) for e in found["grants"]],
            drop=("TOLD BY",),
        )
    for principal, role in Rights(_told(found, "settings"), _told(found, COMMON)).untold:
        say(f"{principal} is granted {role}, which nobody tells: it allows nothing")
    if not found["told"]:
        say("no role or grant is told: whoever is known may do all")


@app.command("set")
@finds_instance
def set_role(
    where: Instance,
    role: RoleArgument,
    verbs: Annotated[list[Verb], typer.Option("--verb", help="What; give it again for more.")],
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="Of which models, * for any characters."),
    ] = None,
    lanes: Annotated[
        list[str] | None, typer.Option("--lane", metavar="LANE", help="In which lanes.")
    ] = None,
    deny: Annotated[bool, typer.Option("--deny", help="Deny it, and not allow it.")] = False,
    add: Annotated[bool, typer.Option("--add", help="Beside the rules that it has.")] = False,
    json: JsonOption = False,
) -> None:
    """Tell a role of one rule, or add a rule to it; it counts at all gateways and nodes."""
    rule: dict[str, Any] = {"verbs": verbs, "effect": "deny" if deny else "allow"}
    rule |= {"models": models} if models else {}
    rule |= {"lanes": lanes} if lanes else {}
    rules = [*(_rules(where, role) if add else ()), rule]
    found = where.ask_gateway("PUT", "/roles", json={"name": role, "rules": rules})
    _done(found, f"role {role} has {counted(len(rules), 'rule')} now", json=json)


@app.command("drop")
@finds_instance
def drop(where: Instance, role: RoleArgument, json: JsonOption = False) -> None:
    """Take a role away; while it is granted it stays."""
    found = where.ask_gateway("PUT", "/roles", json={"name": role, "rules": []})
    _done(found, f"role {role} is no more", json=json)


@app.command("grant")
@finds_instance
def grant(
    where: Instance, principal: PrincipalArgument, roles: RolesArgument, json: JsonOption = False
) -> None:
    """Give a principal these roles too; the first is best `admin` for yourself."""
    _set(where, principal, [*_granted(where, principal), *roles], json=json)


@app.command("revoke")
@finds_instance
def revoke(
    where: Instance,
    principal: PrincipalArgument,
    roles: Annotated[
        list[str] | None, typer.Argument(metavar="[ROLE]...", help="Which; without any, all.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Take roles back from a principal."""
    has = _granted(where, principal)
    if missing := [each for each in roles or () if each not in has]:
        raise NotFound(f"the registry grants no {missing[0]} to {principal}")
    _set(where, principal, [e for e in has if e not in (roles or has)], json=json)


@app.command("check")
@finds_instance
def check(
    where: Instance,
    principal: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="Who.")],
    verb: Annotated[Verb, typer.Argument(metavar="VERB", help="What, such as infer.")],
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Of which model; without, of all.")
    ] = None,
    lane: Annotated[
        str | None, typer.Option("--lane", metavar="LANE", help="In which lane; without, in all.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Tell whether a principal may do that, and why; exit 0 if so, 1 if not."""
    if lane is not None and lane not in LANES:
        raise NotFound(f"there is no lane {lane}; there are {', '.join(LANES)}")
    found = where.ask_gateway("GET", "/roles")
    rights = Rights(_told(found, "settings"), _told(found, COMMON))
    decision = rights.decide(principal, verb, model, None if lane is None else LANES[lane])
    if json:
        print_json({"allowed": decision.allowed, "reason": decision.reason})
    else:
        tell(f"{'yes' if decision.allowed else 'no'}: {decision.reason}")
    return 0 if decision.allowed else NOT_ALLOWED


def _rules(where: Instance, role: str) -> list[dict[str, Any]]:
    """What the registry tells of a role."""
    found = where.ask_gateway("GET", "/roles")["roles"]
    told = [e["rules"] for e in found if (e["name"], e["told_by"]) == (role, COMMON)]
    return list(told[0]) if told else []


def _granted(where: Instance, principal: str) -> list[str]:
    """What the registry grants to a principal of just this name."""
    found = where.ask_gateway("GET", "/roles")["grants"]
    told = [e["roles"] for e in found if (e["principal"], e["told_by"]) == (principal, COMMON)]
    return list(told[0]) if told else []


def _set(where: Instance, principal: str, roles: list[str], *, json: bool) -> None:
    body = {"principal": principal, "roles": roles}
    found = where.ask_gateway("PUT", "/grants", json=body)
    has = ", ".join(dict.fromkeys(roles)) or "no role"
    _done(found, f"{principal} has {has} by the registry now", json=json)


def _done(found: Any, words: str, *, json: bool) -> None:
    if json:
        print_json(found)
    say(words)


def _told(found: dict[str, Any], by: str) -> Told:
    roles = {
        each["name"]: tuple(Rule.model_validate(rule) for rule in each["rules"])
        for each in found["roles"]
        if each["told_by"] == by and each["name"] not in BUILT_IN
    }
    grants = {e["principal"]: tuple(e["roles"]) for e in found["grants"] if e["told_by"] == by}
    return Told(roles, grants, ever=bool(found["told"]))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _all_or(several: list[str], most: int) -> str:
    return "all" if len(several) == most else " ".join(several)
