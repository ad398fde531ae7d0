"""Canaries over HTTP: started, looked at, and ended by a person."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from modelmora.gateway.doors.rest.bodies import read_json, strictly
from modelmora.gateway.doors.rest.reading import Bodies
from modelmora.gateway.doors.rest.registry import catalogue
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.queries import SHOWN
from modelmora.gateway.verbs import registering
from modelmora.records.canaries import Canary, Standing, canaries_of, canary_of
from modelmora.settings.canaries import CanaryPlan
from modelmora.text import printable, shorten
from modelmora.web.problems import DoorCode

BODY_BYTES = 1 << 16


class CanaryShown(BaseModel):
    """How a version takes over a name, and how far it has come."""

    name: str
    id: str = Field(description="What tells this canary of the name from another")
    baseline: str = Field(description="The version that answered alone before")
    standing: Standing = Field(
        description="`running`, or how it ended: `done` (the candidate has all), `rolled_back`, "
        "`aborted` by a person, or `overtaken` by another change of the route"
    )
    step: int = Field(description="Which of the steps it has, from 1 on")
    percent: int = Field(description="The share of the candidate at that step")
    at_ms: int = Field(description="Since when it stands so, or was last looked at (Unix ms)")
    why: str = Field(description="What was made of what was seen by then")
    numbers: dict[str, float] = Field(
        description="What was seen: outcomes, shares that failed, and latencies of each"
    )
    plan: CanaryPlan


class CanaryList(BaseModel):
    """The last canary of each name, by name."""

    canaries: list[CanaryShown]


def add_canaries(app: FastAPI, hall: Hall, metrics: Metrics) -> None:
    """Serve `/canaries` and `/models/{name}/canary`."""
    bodies = Bodies(hall, metrics, "rest", BODY_BYTES)

    @app.get("/canaries", **catalogue.CANARIES, response_model=CanaryList)
    async def canaries() -> Response:
        return _json({"canaries": [_shown(each) for each in canaries_of(hall.registrar.state)]})

    @app.get("/models/{name}/canary", **catalogue.CANARY, response_model=CanaryShown)
    async def canary(request: Request) -> Response:
        return _json(_found(hall, request))

    @app.post(
        "/models/{name}/canary",
        **catalogue.START_CANARY,
        response_model=CanaryShown,
        status_code=HTTPStatus.CREATED,
    )
    async def start_canary(request: Request) -> Response:
        async with bodies.of(request) as raw:
            plan = strictly(CanaryPlan, read_json(raw))
        await registering(hall.registrar.start_canary(request.path_params["name"], plan))
        return _json(_found(hall, request), HTTPStatus.CREATED)

    @app.delete("/models/{name}/canary", **catalogue.ABORT_CANARY, response_model=CanaryShown)
    async def abort_canary(request: Request) -> Response:
        await registering(hall.registrar.abort_canary(request.path_params["name"]))
        return _json(_found(hall, request))


def _found(hall: Hall, request: Request) -> dict[str, Any]:
    name = request.path_params["name"]
    canary = canary_of(hall.registrar.state, name)
    if canary is None:
        shown = shorten(printable(name), SHOWN)
        raise Refusal(DoorCode.NOT_FOUND, f"{shown} has no canary; see /canaries")
    return _shown(canary)


def _shown(canary: Canary) -> dict[str, Any]:
    return {
        "name": canary.name,
        "id": canary.id,
        "baseline": canary.baseline,
        "standing": canary.standing,
        "step": canary.step + 1,
        "percent": canary.percent,
        "at_ms": canary.at_ms,
        "why": canary.why,
        "numbers": dict(canary.numbers),
        "plan": canary.plan.model_dump(mode="json"),
    }


def _json(body: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(body), int(status), None, "application/json")
