"""Errors as problem+json (RFC 9457), every one of them."""

from __future__ import annotations

import math

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from modelmora.errors import Code
from modelmora.gateway.described import PROBLEM
from modelmora.gateway.outcomes import AnyCode, DoorCode, Refusal, answer_of
from modelmora.gateway.tracing import trace_id_of, traceparent_of

_TRACE = "modelmora.traceparent"
_BY_STATUS: dict[int, AnyCode] = {
    404: DoorCode.NOT_FOUND,
    405: DoorCode.METHOD_NOT_ALLOWED,
}


def trace_of(request: Request) -> str:
    """The trace of this HTTP request: the caller's, else one made at the first call."""
    trace = request.scope.get(_TRACE)
    if trace is None:
        trace = request.scope[_TRACE] = traceparent_of(request.headers.get("traceparent"))
    return str(trace)


def problem(request: Request, refusal: Refusal) -> Response:
    """The response that tells a refusal."""
    answer = answer_of(refusal.code)
    body: dict[str, object] = {
        "type": f"urn:modelmora:error:{refusal.code}",
        "title": answer.http.phrase,
        "status": int(answer.http),
        "detail": refusal.message,
        "instance": request.url.path,
        "code": refusal.code,
        "trace_id": trace_id_of(trace_of(request)),
    }
    headers = {}
    if refusal.request_id:
        body["request_id"] = headers["x-request-id"] = refusal.request_id
    if refusal.retry_after_ms:
        body["retry_after_ms"] = refusal.retry_after_ms
        headers["retry-after"] = str(math.ceil(refusal.retry_after_ms / 1000))
    return Response(orjson.dumps(body), int(answer.http), headers, PROBLEM)


def install(app: FastAPI) -> None:
    """Make every error of this app a problem+json."""

    @app.exception_handler(Refusal)
    async def on_refusal(request: Request, refusal: Refusal) -> Response:
        return problem(request, refusal)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        code = _BY_STATUS.get(
            error.status_code, Code.INVALID_INPUT if error.status_code < 500 else DoorCode.INTERNAL
        )
        response = problem(request, Refusal(code, f"{error.detail}; see /openapi.json"))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(request, Refusal(Code.INVALID_INPUT, f"{where}: {first['msg']}"))

    @app.exception_handler(Exception)
    async def on_fault(request: Request, _error: Exception) -> Response:
        message = "the gateway failed; its log has the reason under this trace"
        return problem(request, Refusal(DoorCode.INTERNAL, message))
