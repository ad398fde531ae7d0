"""Errors as problem+json (RFC 9457), every one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Protocol

import orjson
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from modelmora.text import printable, shorten
from modelmora.web.tracing import trace_id_of, traceparent_of

PROBLEM = "application/problem+json"
SHOWN = 200  # characters of a path in an answer
_TRACE = "modelmora.traceparent"


class DoorCode(StrEnum):
    """Reasons that only a door knows; they never stand in a record."""

    BROKER_UNREACHABLE = "broker_unreachable"
    NO_NODE = "no_node"
    UNAUTHENTICATED = "unauthenticated"
    ISSUER_UNREACHABLE = "issuer_unreachable"
    NOT_FOUND = "not_found"
    NOT_FINISHED = "not_finished"
    GONE = "gone"
    REFUSED = "refused"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    STALE = "stale"
    NOT_ACCEPTABLE = "not_acceptable"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    TOO_SLOW = "too_slow"
    MALFORMED = "malformed"
    HEAD_TOO_LARGE = "head_too_large"
    INTERNAL = "internal"


class Tell(Protocol):
    """How an error is told that no route of ours has answered."""

    def __call__(
        self,
        scope: MutableMapping[str, Any],
        status: HTTPStatus,
        code: DoorCode,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The response."""


class Installable(Protocol):
    """What takes handlers of exceptions: Starlette and FastAPI."""

    def add_exception_handler(self, kind: Any, handler: Any) -> None:
        """Answer this kind of exception so."""


def trace_of(scope: MutableMapping[str, Any]) -> str:
    """The trace of this HTTP request: the caller's, else one made at the first call."""
    trace: str | None = scope.get(_TRACE)
    if trace is None:
        given = Headers(raw=scope.get("headers", [])).get("traceparent")
        trace = scope[_TRACE] = traceparent_of(given)
    return trace


def problem(
    scope: MutableMapping[str, Any],
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    request_id: str = "",
    retry_after_ms: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response that tells a refusal; strangers' words in it are made harmless."""
    told = dict(headers or {})
    body: dict[str, object] = {
        "type": f"urn:modelmora:error:{code}",
        "title": status.phrase,
        "status": int(status),
        "detail": printable(detail),
        "instance": shorten(printable(scope.get("path", "")), SHOWN),
        "code": code,
        "trace_id": trace_id_of(trace_of(scope)),
    }
    if request_id:
        body["request_id"] = told["x-request-id"] = request_id
    if retry_after_ms:
        body["retry_after_ms"] = retry_after_ms
        told["retry-after"] = str(math.ceil(retry_after_ms / 1000))
    return Response(orjson.dumps(body), int(status), told, PROBLEM)


def not_found(scope: MutableMapping[str, Any], tell: Tell = problem) -> Response:
    """Nothing is at this path."""
    where = shorten(printable(scope["path"]), SHOWN)
    return tell(scope, HTTPStatus.NOT_FOUND, DoorCode.NOT_FOUND, f"nothing is at {where}; see /")


def install(app: Installable, tell: Tell = problem) -> None:
    """Have every error that a framework raises in this app told so."""

    async def on_http(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        code = (
            DoorCode.MALFORMED if status < HTTPStatus.INTERNAL_SERVER_ERROR else DoorCode.INTERNAL
        )
        return tell(request.scope, status, code, error.detail, headers=error.headers)

    async def on_fault(request: Request, _error: Exception) -> Response:
        message = "this process failed; its log has the reason under this trace"
        return tell(request.scope, HTTPStatus.INTERNAL_SERVER_ERROR, DoorCode.INTERNAL, message)

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_fault)
