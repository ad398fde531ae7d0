"""Budgets over HTTP: all that count, and those of the registry told and taken back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from modelmora.access.rights import Verb
from modelmora.gateway.doors.rest.bodies import read_json, strictly
from modelmora.gateway.doors.rest.reading import Bodies
from modelmora.gateway.doors.rest.registry import catalogue
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.rights.permits import Permits
from modelmora.gateway.verbs import registering
from modelmora.records.limiting import Limiting, tell_budget
from modelmora.settings.budgets import Budget, BudgetName

BODY_BYTES = 1 << 20
LIST: dict[str, Any] = catalogue.ROLES | {
    "summary": "List budgets",
    "description": "Those of this gateway's settings, and those of the registry, which count "
    "everywhere; of one name the settings' counts. Needs `admin`.",
}
SET: dict[str, Any] = catalogue.SET_ROLE | {
    "summary": "Tell a budget",
    "description": "On the registry, for all gateways and nodes, in place of what it had there. "
    "What was used of it stays used. Without a budget it is taken away. Needs `admin`.",
    "openapi_extra": catalogue.takes(
        "BudgetBody",
        {"name": "guests", "budget": {"principals": ["guest-*"], "requests": {"amount": 600}}},
    ),
}


class BudgetBody(BaseModel):
    """What `PUT /budgets` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: BudgetName = Field(description="Its name.")
    budget: Budget | None = Field(description="All of it; null: it is taken away.")


class BudgetTold(BaseModel):
    """A budget, and who tells it."""

    name: str
    told_by: str = Field(description="`settings` of this gateway, or `registry`")
    budget: Budget


class BudgetsTold(BaseModel):
    """All that count at this gateway."""

    budgets: list[BudgetTold]


def add_budgets(
    app: FastAPI, hall: Hall, metrics: Metrics, permits: Permits, limiting: Limiting
) -> None:
    """Serve `/budgets`."""
    bodies = Bodies(hall, metrics, "rest", BODY_BYTES)
    registrar = hall.registrar

    @app.get("/budgets", **LIST, response_model=BudgetsTold)
    async def budgets() -> Response:
        permits.check(Verb.ADMIN)
        return _json(_shown(limiting))

    @app.put("/budgets", **SET, response_model=BudgetsTold)
    async def set_budget(request: Request) -> Response:
        async with bodies.of(request) as raw:
            body = strictly(BudgetBody, read_json(raw))

        async def work() -> None:
            permits.check(Verb.ADMIN)  # who may not look may not guess by what is refused
            record = tell_budget(registrar.state, body.name, body.budget, limiting.own)
            await registrar.tell(record)

        await registering(work())
        return _json(_shown(limiting))


def _shown(limiting: Limiting) -> dict[str, Any]:
    own = limiting.own
    return {
        "budgets": [
            {
                "name": name,
                "told_by": "settings" if name in own else "registry",
                "budget": budget.model_dump(mode="json"),
            }
            for name, budget in sorted(limiting.budgets().items())
        ]
    }


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), int(HTTPStatus.OK), None, "application/json")
