"""Roles and grants over HTTP: all that counts, and those of the registry told and taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from modelmora.access.rights import Rights, Source, Told
from modelmora.gateway.doors.rest import catalogue
from modelmora.gateway.doors.rest.bodies import read_body
from modelmora.gateway.doors.rest.reading import Bodies
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.permits import Permits
from modelmora.gateway.verbs import registering
from modelmora.messages import RegistryRecord
from modelmora.records import granting
from modelmora.settings.rights import BUILT_IN, PrincipalGlob, RoleName, Rule

B = TypeVar("B", bound=BaseModel)
BODY_BYTES = 1 << 20


class RoleBody(BaseModel):
    """What `PUT /roles` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: RoleName = Field(description="Its name.")
    rules: tuple[Rule, ...] = Field(description="All its rules; none: it is taken away.")


class GrantBody(BaseModel):
    """What `PUT /grants` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    principal: PrincipalGlob = Field(description="Whose, `*` for any characters.")
    roles: tuple[RoleName, ...] = Field(description="All its roles; none: they are taken back.")


class RoleTold(BaseModel):
    """A role, and who tells it."""

    name: str
    told_by: str = Field(description="`built_in`, `settings` of this gateway, or `registry`")
    rules: list[Rule]


class GrantTold(BaseModel):
    """What is granted to a principal, and by whom."""

    principal: str
    told_by: str = Field(description="`settings` of this gateway, or `registry`")
    roles: list[str]


class RightsTold(BaseModel):
    """All that counts here; `told`: somebody has told a role or grant, so that rights are asked."""

    told: bool
    roles: list[RoleTold]
    grants: list[GrantTold]


def add_roles(app: FastAPI, hall: Hall, metrics: Metrics, permits: Permits) -> None:
    """Serve `/roles` and `/grants`."""
    bodies = Bodies(hall, metrics, "rest", BODY_BYTES)
    registrar = hall.registrar

    async def tell(make: Callable[[], RegistryRecord | None]) -> None:
        async def work() -> None:
            registrar.told()  # who may not look may not guess by what is refused
            await registrar.tell(make())

        await registering(work())

    @app.get("/roles", **catalogue.ROLES, response_model=RightsTold)
    async def roles() -> Response:
        return _json(_shown(permits.ruling.own, registrar.told()))

    @app.put("/roles", **catalogue.SET_ROLE, response_model=RightsTold)
    async def set_role(request: Request) -> Response:
        body = await _read(bodies, request, RoleBody)
        await tell(lambda: granting.tell_role(registrar.state, body.name, body.rules))
        return _json(_shown(permits.ruling.own, registrar.told()))

    @app.put("/grants", **catalogue.SET_GRANT, response_model=RightsTold)
    async def set_grant(request: Request) -> Response:
        body = await _read(bodies, request, GrantBody)
        state, known = registrar.state, permits.ruling.own.roles
        await tell(lambda: granting.grant(state, body.principal, body.roles, known))
        return _json(_shown(permits.ruling.own, registrar.told()))


async def _read(bodies: Bodies, request: Request, kind: type[B]) -> B:
    async with bodies.of(request) as raw:
        return read_body(kind, raw)


def _shown(own: Source, told: Told) -> dict[str, Any]:
    sources: tuple[tuple[str, Source], ...] = (("settings", own), ("registry", told))
    roles = [*_roles("built_in", BUILT_IN.items())]
    grants: list[dict[str, Any]] = []
    for name, source in sources:
        roles += _roles(name, sorted(source.roles.items()))
        grants += [
            {"principal": principal, "told_by": name, "roles": [*granted]}
            for principal, granted in sorted(source.grants.items())
        ]
    rights = Rights(own, told)
    return {"told": rights.told, "roles": roles, "grants": grants}


def _roles(
    told_by: str, several: Iterable[tuple[str, tuple[Rule, ...]]]
) -> Iterator[dict[str, Any]]:
    for name, rules in several:
        shown = [each.model_dump(mode="json") for each in rules]
        yield {"name": name, "told_by": told_by, "rules": shown}


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), int(HTTPStatus.OK), None, "application/json")
