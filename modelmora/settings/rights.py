"""What roles and grants are: which verbs, of which models, in which lanes, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from modelmora.settings.section import Section


class Verb(StrEnum):
    """What can be allowed or denied."""

    INFER = "infer"
    STREAM = "stream"
    JOBS_READ = "jobs.read"
    INSTALL = "install"
    LOAD = "load"
    UNLOAD = "unload"
    ROUTE = "route"
    DLQ_READ = "dlq.read"
    DLQ_REPLAY = "dlq.replay"
    AUDIT_READ = "audit.read"
    ADMIN = "admin"


RoleName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"),
    Field(json_schema_extra={"form": "up to 64 of a-z 0-9 . _ -, first a letter or digit"}),
]
ModelGlob = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._*-]{1,96}(@[A-Za-z0-9._*-]{1,64})?$"),
    Field(json_schema_extra={"form": "a model's name or name@version, * for any characters"}),
]
PrincipalGlob = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]{0,254}[^\x00-\x20\x7f])?$"),
    Field(json_schema_extra={"form": "a principal, * for any characters, 256 at most"}),
]
LaneName = Literal["critical", "high", "normal", "low"]
LANES: tuple[LaneName, ...] = ("critical", "high", "normal", "low")


def _is_told(given: tuple[object, ...]) -> tuple[object, ...]:
    """Nothing is no way to say all: what is left out is."""
    if not given:
        raise ValueError("an empty list says nothing; leave it out, or name something")
    return given


NotEmpty = AfterValidator(_is_told)


class Rule(Section):
    """What is allowed or denied: any of these verbs, of any of these models, in any of these lanes.

    A model's glob with a version is of requests that name one; a glob without is of all. Lanes
    count for `infer` and `stream` alone.
    """

    verbs: Annotated[tuple[Verb, ...], NotEmpty]
    models: Annotated[tuple[ModelGlob, ...], NotEmpty] = ("*",)
    lanes: Annotated[tuple[LaneName, ...], NotEmpty] = LANES
    effect: Literal["allow", "deny"] = "allow"


Rules = Annotated[tuple[Rule, ...], NotEmpty]
RoleNames = Annotated[tuple[RoleName, ...], NotEmpty]
OPERATING = (
    Verb.JOBS_READ,
    Verb.INSTALL,
    Verb.LOAD,
    Verb.UNLOAD,
    Verb.ROUTE,
    Verb.DLQ_READ,
    Verb.DLQ_REPLAY,
)
BUILT_IN: Mapping[str, tuple[Rule, ...]] = {
    "admin": (Rule(verbs=tuple(Verb)),),
    "operator": (Rule(verbs=OPERATING),),
    "caller": (Rule(verbs=(Verb.INFER, Verb.STREAM, Verb.JOBS_READ)),),
    "auditor": (Rule(verbs=(Verb.AUDIT_READ,)),),
}
"""The roles that are always there; nobody else can tell one of their names."""


def _are_not_built_in(roles: dict[str, tuple[Rule, ...]]) -> dict[str, tuple[Rule, ...]]:
    if taken := sorted(roles.keys() & BUILT_IN.keys()):
        raise ValueError(f"{taken[0]} is a role that is always there; choose another name")
    return roles


Roles = Annotated[dict[RoleName, Rules], AfterValidator(_are_not_built_in)]
Grants = dict[PrincipalGlob, RoleNames]
