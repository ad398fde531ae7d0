"""The paths under `/v2`: the protocol's HTTP to the hall and back, no logic of its own."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
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
    CALLER_GONE,
    Body,
    media_type,
    only_json,
    unless_gone,
)
from modelmora.gateway.guard import CHALLENGE
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
    for path, versioned in ((NAME, False), (VERSION, True)):
        _add_model(app, hall, path, versioned)
        _add_infer(app, hall, metrics, body_limit, path, versioned)
    _add_repository(app, hall)


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
        try:
            return _json(models.metadata(hall, *_named(request)))
        except Refusal as refusal:
            return refused(refusal)

    @app.get(f"{path}/ready", name=f"oip_model_ready{suffix}", **described.ready(versioned))
    async def ready(request: Request) -> Response:
        name, version = _named(request)
        try:
            return _ready({"name": name, "ready": models.is_ready(hall, name, version)})
        except Refusal as refusal:
            return refused(refusal)


def _add_infer(
    app: FastAPI, hall: Hall, metrics: Metrics, body_limit: int, path: str, versioned: bool
) -> None:
    suffix = "_version" if versioned else ""

    @app.post(f"{path}/infer", name=f"oip_infer{suffix}", **described.infer(versioned))
    async def infer(request: Request) -> Response:
        body = Body(hall, request, body_limit, check_type)
        try:
            head = request.headers.get(HEAD)
            asked, binary = read_infer(await body.read(), head, *_named(request))
        except Refusal as refusal:
            metrics.refused(DOOR, refusal.code)
            return refused(refusal, unread=not body.whole)
        except ClientDisconnect:
            return Response(status_code=CALLER_GONE)
        finally:
            body.release()

        async def run() -> Response:
            found = await answer(hall, asked, trace_of(request.scope))
            try:
                content, length = write_infer(found, binary)
            except BadTensor as error:
                raise Refusal(DoorCode.INTERNAL, f"the model's outputs: {error}") from None
            if length is None:
                return Response(content, media_type="application/json")
            headers = {HEAD: str(length)}
            return Response(content, headers=headers, media_type="application/octet-stream")

        return await _answering(run(), request)


def _add_repository(app: FastAPI, hall: Hall) -> None:
    @app.post("/v2/repository/index", name="oip_index", **described.INDEX)
    async def index(request: Request) -> Response:
        async def tell(body: OipIndexBody) -> Any:
            return models.index(hall, ready=body.ready)

        return await _reading(hall, request, OipIndexBody, tell)

    for verb, summary in (
        (ControlVerb.LOAD, "Load a model"),
        (ControlVerb.UNLOAD, "Give a model's memory back"),
    ):
        _add_order(app, hall, verb, summary)


def _add_order(app: FastAPI, hall: Hall, verb: ControlVerb, summary: str) -> None:
    path = f"/v2/repository/models/{{model_name}}/{verb.lower()}"

    @app.post(path, name=f"oip_{verb.lower()}", **described.order(summary))
    async def order(request: Request) -> Response:
        async def give(body: OipOrderBody) -> Any:
            check_order(body.parameters)
            await models.order(hall, verb, request.path_params["model_name"])
            return {}

        return await _reading(hall, request, OipOrderBody, give)


async def _reading(
    hall: Hall, request: Request, kind: type[B], act: Callable[[B], Awaitable[Any]]
) -> Response:
    """What becomes of a small body."""
    body = Body(hall, request, BODY_BYTES, check_type)
    try:
        read = read_body(kind, await body.read() or b"{}")
    except Refusal as refusal:
        return refused(refusal, unread=not body.whole)
    except ClientDisconnect:
        return Response(status_code=CALLER_GONE)
    finally:
        body.release()

    async def run() -> Response:
        return _json(await act(read))

    return await _answering(run(), request)


async def _answering(work: Awaitable[Response], request: Request) -> Response:
    try:
        return await unless_gone(work, request.receive)
    except Refusal as refusal:
        return refused(refusal)
    except ClientDisconnect:
        return Response(status_code=CALLER_GONE)


def check_type(headers: Headers) -> None:
    """Take JSON, bytes, and what says nothing, as Triton's client does; raises Refusal.

    A page can send the last to any host without asking, but not without telling its origin.
    """
    media = media_type(headers)
    if media != "application/octet-stream" and (media or "origin" in headers):
        only_json(headers)


def told(_scope: Scope, refusal: Refusal, *, unread: bool = False) -> Response:
    """How this door tells what no route of it has answered."""
    return refused(refusal, unread=unread)


def refused(refusal: Refusal, *, unread: bool = False) -> Response:
    """The response that tells a refusal; `unread` where the body was not read to its end."""
    headers = {ERROR_CODE: str(refusal.code), **({"connection": "close"} if unread else {})}
    if refusal.code == DoorCode.UNAUTHENTICATED:
        headers |= CHALLENGE
    if refusal.request_id:
        headers["x-request-id"] = refusal.request_id
    if refusal.retry_after_ms:
        headers["retry-after"] = str(math.ceil(refusal.retry_after_ms / 1000))
    return _json({"error": refusal.message}, answer_of(refusal.code).http, headers)


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["model_name"], request.path_params.get("version", "")


def _ready(told: dict[str, Any]) -> Response:
    # The protocol says "no" by any 4xx.
    return _json(told, HTTPStatus.OK if told["ready"] else HTTPStatus.BAD_REQUEST)


def _json(
    told: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(told), int(status), headers, "application/json")
