"""The paths under `/v2`: the protocol's HTTP to the hall and back, no logic of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.doors.oip import described, models
from modelmora.gateway.doors.oip.asking import DOOR, answer
from modelmora.gateway.doors.oip.bodies import (
    OipIndexBody,
    OipOrderBody,
    read_infer,
    write_infer,
)
from modelmora.gateway.doors.oip.service import check_order
from modelmora.gateway.doors.rest.bodies import read_body
from modelmora.gateway.doors.rest.orders import BODY_BYTES
from modelmora.gateway.doors.rest.reading import (
    Bodies,
    media_type,
    only_json,
    unless_gone,
)
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.messages import ControlVerb
from modelmora.messages.headers import ERROR_CODE
from modelmora.web.problems import DoorCode, trace_of
from modelmora.wire.tensors import BadTensor

HEAD = "inference-header-content-length"
NAME = "/v2/models/{model_name}"
VERSION = NAME + "/versions/{version}"
B = TypeVar("B", bound=BaseModel)


def add_oip(app: FastAPI, hall: Hall, metrics: Metrics, body_limit: int) -> None:
    """Serve `/v2`."""
    _add_server(app, hall)
    bodies = Bodies(hall, metrics, DOOR, body_limit, check_type)
    for path, versioned in ((NAME, False), (VERSION, True)):
        _add_model(app, hall, path, versioned)
        _add_infer(app, bodies, path, versioned)
    _add_repository(app, Bodies(hall, metrics, DOOR, BODY_BYTES, check_type))


def _add_server(app: FastAPI, hall: Hall) -> None:
    @app.get("/v2", name="oip_server", **described.SERVER)
    async def server() -> Response:
        return _json(models.SERVER)

    @app.get("/v2/health/live", name="oip_live", **described.LIVE)
    async def live() -> Response:
        return _json({"live": True})

    @app.get("/v2/health/ready", name="oip_ready", **described.READY)
    async def ready() -> Response:
        return _ready({"ready": not hall.faults()})


def _add_model(app: FastAPI, hall: Hall, path: str, versioned: bool) -> None:
    suffix = "_version" if versioned else ""

    @app.get(path, name=f"oip_model{suffix}", **described.metadata(versioned))
    async def metadata(request: Request) -> Response:
        return _json(models.metadata(hall, *_named(request)))

    @app.get(f"{path}/ready", name=f"oip_model_ready{suffix}", **described.ready(versioned))
    async def ready(request: Request) -> Response:
        name, version = _named(request)
        return _ready({"name": name, "ready": models.is_ready(hall, name, version)})


def _add_infer(app: FastAPI, bodies: Bodies, path: str, versioned: bool) -> None:
    suffix = "_version" if versioned else ""

    @app.post(f"{path}/infer", name=f"oip_infer{suffix}", **described.infer(versioned))
    async def infer(request: Request) -> Response:
        async with bodies.of(request) as body:
            asked, binary = read_infer(body, request.headers.get(HEAD), *_named(request))
        answering = answer(bodies.hall, asked, trace_of(request.scope))
        found = await unless_gone(answering, request.receive)
        try:
            content, length = write_infer(found, binary)
        except BadTensor as error:
            raise Refusal(DoorCode.INTERNAL, f"the model's outputs: {error}") from None
        if length is None:
            return Response(content, media_type="application/json")
        headers = {HEAD: str(length)}
        return Response(content, headers=headers, media_type="application/octet-stream")


def _add_repository(app: FastAPI, bodies: Bodies) -> None:
    @app.post("/v2/repository/index", name="oip_index", **described.INDEX)
    async def index(request: Request) -> Response:
        async def tell(body: OipIndexBody) -> Any:
            return models.index(bodies.hall, ready=body.ready)

        return await _reading(bodies, request, OipIndexBody, tell)

    for verb, summary in (
        (ControlVerb.LOAD, "Load a model"),
        (ControlVerb.UNLOAD, "Give a model's memory back"),
    ):
        _add_order(app, bodies, verb, summary)


def _add_order(app: FastAPI, bodies: Bodies, verb: ControlVerb, summary: str) -> None:
    path = f"/v2/repository/models/{{model_name}}/{verb.lower()}"

    @app.post(path, name=f"oip_{verb.lower()}", **described.order(summary))
    async def order(request: Request) -> Response:
        async def give(body: OipOrderBody) -> Any:
            check_order(body.parameters)
            await models.order(bodies.hall, verb, request.path_params["model_name"])
            return {}

        return await _reading(bodies, request, OipOrderBody, give)


async def _reading(
    bodies: Bodies, request: Request, kind: type[B], act: Callable[[B], Awaitable[Any]]
) -> Response:
    """What becomes of a small body."""
    async with bodies.of(request) as body:
        read = read_body(kind, body or b"{}")
    return _json(await unless_gone(act(read), request.receive))


def check_type(headers: Headers) -> None:
    """Take JSON, bytes, and what says nothing, as Triton's client does; raises Refusal.

    A page can send the last to any host without asking, but not without telling its origin.
    """
    media = media_type(headers)
    if media != "application/octet-stream" and (media or "origin" in headers):
        only_json(headers)


def refused(_scope: Scope, refusal: Refusal, headers: Mapping[str, str]) -> Response:
    """The response that tells a refusal."""
    told = {ERROR_CODE: str(refusal.code), **headers}
    return _json({"error": refusal.message}, answer_of(refusal.code).http, told)


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["model_name"], request.path_params.get("version", "")


def _ready(told: dict[str, Any]) -> Response:
    # The protocol says "no" by any 4xx.
    return _json(told, HTTPStatus.OK if told["ready"] else HTTPStatus.BAD_REQUEST)


def _json(
    told: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(told), int(status), headers, "application/json")
