"""The REST door: HTTP and JSON to the hall and back, no logic of its own."""

from __future__ import annotations

import asyncio
import html
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive

from modelmora import __version__
from modelmora.errors import Code
from modelmora.gateway import described, problems
from modelmora.gateway.bodies import read_ask, write_result
from modelmora.gateway.hall import Ask, Hall, check_request_id
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import DoorCode, Refusal
from modelmora.gateway.tensors import BadTensor
from modelmora.messages import RegistryRecord

JSON_OVER_RECORD = 8  # FP32 as text and escaped text are up to six times their bytes
CALLER_GONE = 499  # nobody reads it; the number is nginx's


def create_app(hall: Hall, metrics: Metrics, request_bytes: int) -> FastAPI:
    """The ASGI app; `request_bytes` is the limit of an encoded request."""
    # FastAPI's own pages load scripts from a foreign host.
    app = FastAPI(
        title="ModelMora",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    _add_health(app, hall)
    _add_models(app, hall)
    _add_infer(app, hall, metrics, request_bytes * JSON_OVER_RECORD)
    _add_pages(app, metrics)
    return app


def _add_health(app: FastAPI, hall: Hall) -> None:
    @app.get("/health", response_model=described.Health, tags=["health"])
    async def health() -> dict[str, Any]:
        """How the gateway is, in one answer; always 200 while the process lives."""
        faults = hall.faults()
        return {
            "status": "unavailable" if faults else "ok",
            "faults": faults,
            "models": len(hall.models()),
            "version": __version__,
        }

    @app.get("/health/live", response_model=described.Live, tags=["health"])
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @app.get(
        "/health/ready",
        response_model=described.Ready,
        responses={503: {"model": described.Ready}},
        tags=["health"],
    )
    async def ready() -> JSONResponse:
        """Whether requests can be served now; 503 when not."""
        faults = hall.faults()
        body = {"ready": not faults, "faults": faults}
        return JSONResponse(body, 503 if faults else 200)


def _add_models(app: FastAPI, hall: Hall) -> None:
    def state(model: RegistryRecord) -> dict[str, str | None]:
        reason = hall.failed().get(f"{model.name}@{model.version}")
        return {"status": "failed" if reason else "registered", "reason": reason}

    @app.get("/health/models", response_model=described.ModelsHealth, tags=["health"])
    async def models_health() -> dict[str, Any]:
        """The models and what the gateway knows of each."""
        return {
            "models": [
                {"name": model.name, "version": model.version, **state(model)}
                for model in hall.models()
            ]
        }

    @app.get("/models", response_model=described.Models, tags=["models"])
    async def models() -> dict[str, Any]:
        """The models of the registry."""
        return {
            "models": [
                {
                    "name": model.name,
                    "version": model.version,
                    "task": model.task,
                    "source": model.source,
                    "max_inputs": model.max_inputs,
                    **state(model),
                }
                for model in hall.models()
            ]
        }


def _add_infer(app: FastAPI, hall: Hall, metrics: Metrics, body_limit: int) -> None:
    # The body is read and validated by hand: what FastAPI would do with it costs more.
    @app.post(
        "/infer/{model_name}",
        response_model=described.InferAnswer,
        responses=described.problem_responses(400, 404, 409, 413, 500, 503, 504),
        openapi_extra=described.infer_description(),
        tags=["infer"],
    )
    async def infer(model_name: str, request: Request) -> Response:
        """Run one request and wait for its outcome; `model_name` is `name` or `name@version`."""
        try:
            ask = await _read_ask(hall, model_name, request, body_limit)
        except Refusal as refusal:
            metrics.refused("rest", refusal.code)
            return problems.problem(request, refusal)
        except ClientDisconnect:
            return Response(status_code=CALLER_GONE)
        try:
            return await _unless_gone(hall, ask, request.receive)
        except Refusal as refusal:
            return problems.problem(request, refusal)
        except ClientDisconnect:
            return Response(status_code=CALLER_GONE)


async def _read_ask(hall: Hall, model: str, request: Request, limit: int) -> Ask:
    request_id = check_request_id(request.headers.get("x-request-id"))
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit, request_id)
    body = bytearray()
    held = 0
    try:
        async for chunk in request.stream():
            hall.hold(len(chunk))
            held += len(chunk)
            if held > limit:
                raise _too_large(limit, request_id)
            body += chunk
        return read_ask(model, body, request_id=request_id, traceparent=problems.trace_of(request))
    finally:
        hall.release(held)


def _too_large(limit: int, request_id: str | None) -> Refusal:
    return Refusal(
        Code.TOO_LARGE, f"the body has more than {limit} bytes", request_id=request_id or ""
    )


async def _unless_gone(hall: Hall, ask: Ask, receive: Receive) -> Response:
    """The hall's answer; a caller that hangs up cancels its request (raises ClientDisconnect)."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (a handler always runs in a task)
    watch = asyncio.create_task(_cancel_when_gone(receive, task))
    try:
        result = await hall.infer(ask)
    except asyncio.CancelledError:
        if watch.done() and not watch.cancelled():
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        watch.cancel()
    try:
        body = orjson.dumps(write_result(result))
    except BadTensor as error:
        raise Refusal(
            DoorCode.INTERNAL, f"the model's outputs: {error}", request_id=result.request_id
        ) from None
    return Response(
        body, headers={"x-request-id": result.request_id}, media_type="application/json"
    )


async def _cancel_when_gone(receive: Receive, task: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()


def _add_pages(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_page(app.openapi()))

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            schema.setdefault("components", {}).setdefault("schemas", {}).update(
                described.schemas()
            )
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _page(schema: dict[str, Any]) -> str:
    """The operations as a plain page that loads nothing."""
    rows = "".join(
        f"<tr><td><code>{method.upper()} {html.escape(path)}</code></td>"
        f"<td>{html.escape(operation.get('description', ''))}</td></tr>"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>ModelMora {__version__}</title>"
        f"<h1>ModelMora {__version__}</h1><table>{rows}</table>"
        '<p>The whole description: <a href="/openapi.json">/openapi.json</a>; '
        'metrics: <a href="/metrics">/metrics</a>.</p>'
    )
