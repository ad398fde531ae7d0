"""Roles and grants over HTTP: all that counts, and those of the registry told and taken back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from modelmora.gateway.doors.rest.bodies import read_json, strictly
from modelmora.gateway.doors.rest.reading import Bodies
from modelmora.gateway.doors.rest.registry import catalogue
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.rights.granted import Granted
from modelmora.gateway.rights.permits import Permits
from modelmora.settings.rights import PrincipalGlob, RoleName, Rule

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
    granted = Granted(hall.registrar, lambda: permits.ruling.own)

    @app.get("/roles", **catalogue.ROLES, response_model=RightsTold)
    async def roles() -> Response:
        return _json(granted.shown())

    @app.put("/roles", **catalogue.SET_ROLE, response_model=RightsTold)
    async def set_role(request: Request) -> Response:
        body = await _read(bodies, request, RoleBody)
        return _json(await granted.set_role(body.name, body.rules))

    @app.put("/grants", **catalogue.SET_GRANT, response_model=RightsTold)
    async def set_grant(request: Request) -> Response:
        body = await _read(bodies, request, GrantBody)
        return _json(await granted.set_grant(body.principal, body.roles))


async def _read(bodies: Bodies, request: Request, kind: type[B]) -> B:
    async with bodies.of(request) as raw:
        return strictly(kind, read_json(raw))


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), int(HTTPStatus.OK), None, "application/json")
