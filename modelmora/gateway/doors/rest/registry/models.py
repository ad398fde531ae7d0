"""The registry over HTTP: models and routes listed, read and changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from starlette.responses import Response

from modelmora.errors import Code
from modelmora.gateway.doors.rest.bodies import read_json
from modelmora.gateway.doors.rest.reading import Bodies
from modelmora.gateway.doors.rest.registry import catalogue
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.verbs import (
    Filter,
    base_of,
    entry_of,
    etag_of,
    named,
    page_of,
    registering,
    route_of,
    routes_of,
)
from modelmora.records import Entry
from modelmora.web.problems import DoorCode

MODEL_BYTES = 1 << 20


def add_models(app: FastAPI, hall: Hall, metrics: Metrics) -> None:
    """Serve `/models` and what is below it."""
    _add_reading(app, hall)
    bodies = Bodies(hall, metrics, "rest", MODEL_BYTES)
    _add_changing(app, bodies)
    _add_routes(app, bodies)


def _add_reading(app: FastAPI, hall: Hall) -> None:
    @app.get("/models", **catalogue.LIST)
    async def models(request: Request) -> Response:
        return _json(page_of(hall, Filter.of(request.query_params.multi_items())))

    @app.get("/models/{name}", **catalogue.NAME)
    async def model(request: Request) -> Response:
        return _json(named(hall, request.path_params["name"]))

    @app.get("/models/{name}/versions/{version}", **catalogue.VERSION)
    async def version(request: Request) -> Response:
        name, number = _key(request)
        entry = hall.registrar.state.model(name, number)
        if entry is None:
            raise Refusal(DoorCode.NOT_FOUND, f"{name}@{number} is not registered; see /models")
        return _entry(hall, entry)


def _add_changing(app: FastAPI, bodies: Bodies) -> None:
    hall = bodies.hall

    @app.post("/models", **catalogue.REGISTER)
    async def register(request: Request) -> Response:
        async def change(body: dict[str, Any]) -> Response:
            entry, new = await registering(hall.registrar.register(catalogue.config(body)))
            record = entry.record
            where = {"location": f"/models/{record.name}/versions/{record.version}"}
            status = HTTPStatus.CREATED if new else HTTPStatus.OK
            return _entry(hall, entry, status, where)

        return await _with_body(bodies, request, change)

    @app.patch("/models/{name}", **catalogue.CHOOSE)
    async def choose(request: Request) -> Response:
        name = request.path_params["name"]

        async def change(body: dict[str, Any]) -> Response:
            chosen = catalogue.choice(body)
            if chosen.active is not None:
                await registering(hall.registrar.activate(name, chosen.active))
            if chosen.default:
                await registering(hall.registrar.make_default(name))
            return _json(named(hall, name))

        return await _with_body(bodies, request, change)

    @app.patch("/models/{name}/versions/{version}", **catalogue.UPDATE)
    async def update(request: Request) -> Response:
        name, number = _key(request)

        async def change(body: dict[str, Any]) -> Response:
            work = hall.registrar.update(name, number, body, _if_match(request))
            return _entry(hall, await registering(work))

        return await _with_body(bodies, request, change)

    @app.delete("/models/{name}/versions/{version}", **catalogue.RETIRE)
    async def retire(request: Request) -> Response:
        name, number = _key(request)
        work = hall.registrar.retire(name, number, _if_match(request))
        return _entry(hall, await registering(work))


def _add_routes(app: FastAPI, bodies: Bodies) -> None:
    hall = bodies.hall

    @app.get("/routes", **catalogue.ROUTES)
    async def routes(_: Request) -> Response:
        return _json({"routes": routes_of(hall)})

    @app.get("/models/{name}/route", **catalogue.ROUTE)
    async def route(request: Request) -> Response:
        return _route(hall, request.path_params["name"])

    @app.put("/models/{name}/route", **catalogue.SET_ROUTE)
    async def set_route(request: Request) -> Response:
        name, base = request.path_params["name"], _if_match(request)

        async def change(body: dict[str, Any]) -> Response:
            await registering(hall.registrar.set_route(name, catalogue.route(body), base))
            return _route(hall, name)

        return await _with_body(bodies, request, change)


async def _with_body(
    bodies: Bodies, request: Request, change: Callable[[dict[str, Any]], Awaitable[Response]]
) -> Response:
    """What `change` answers to the object in the body. Raises Refusal, ClientDisconnect."""
    async with bodies.of(request) as body:
        found = read_json(body)
        if not isinstance(found, dict):
            raise Refusal(Code.INVALID_INPUT, "the body is an object")
    return await change(found)


def _key(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params["version"]


def _if_match(request: Request) -> int | None:
    return base_of(request.headers.get("if-match", "*"))


def _entry(
    hall: Hall,
    entry: Entry,
    status: HTTPStatus = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
) -> Response:
    told = {"etag": etag_of(entry), **(headers or {})}
    return _json(entry_of(hall, entry), status, told)


def _route(hall: Hall, name: str) -> Response:
    told = route_of(hall, name)
    return _json(told, headers={"etag": told["etag"]} if told["etag"] else None)


def _json(
    body: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(body), int(status), headers, "application/json")
