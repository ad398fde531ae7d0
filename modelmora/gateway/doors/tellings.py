"""How a refusal is told over HTTP: in the form of the door at whose path it is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.guard import CHALLENGE
from modelmora.web.problems import DoorCode

CALLER_GONE = 499  # nobody reads it; the number is nginx's
_READ = "modelmora.read"
_BY_CODE: Mapping[str, Mapping[str, str]] = {
    DoorCode.UNSUPPORTED_MEDIA_TYPE: {
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
    },
    DoorCode.UNAUTHENTICATED: CHALLENGE,
}
Telling = Callable[[Scope, Refusal, Mapping[str, str]], Response]
"""A door's own form of a refusal, with these headers."""


class Tellings:
    """The doors' forms, by the path that all paths of a door lie under; "" is every other."""

    def __init__(self, by_path: Mapping[str, Telling]) -> None:
        self._by_path = by_path

    def tell(self, scope: Scope, refusal: Refusal) -> Response:
        """The response that tells a refusal."""
        return self._telling(scope)(scope, refusal, _headers(scope, refusal))

    def framework(
        self,
        scope: Scope,
        status: HTTPStatus,
        code: DoorCode,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The response to a call that no route of a door has answered."""
        response = self._telling(scope)(scope, Refusal(code, detail), headers or {})
        response.status_code = status
        return response

    def install(self, app: Starlette) -> None:
        """Tell so what the endpoints of this app refuse, and nothing to callers who are gone."""

        async def on_refusal(request: Request, refusal: Refusal) -> Response:
            return self.tell(request.scope, refusal)

        async def on_gone(_request: Request, _error: ClientDisconnect) -> Response:
            return Response(status_code=CALLER_GONE)

        app.add_exception_handler(Refusal, on_refusal)  # type: ignore[arg-type]
        app.add_exception_handler(ClientDisconnect, on_gone)  # type: ignore[arg-type]

    def _telling(self, scope: Scope) -> Telling:
        path = f"{scope['path']}/"
        at = max((door for door in self._by_path if path.startswith(f"{door}/")), key=len)
        return self._by_path[at]


def whole(scope: Scope) -> None:
    """Note that the body of this request was read to its end."""
    scope[_READ] = True


def _headers(scope: Scope, refusal: Refusal) -> dict[str, str]:
    found = dict(_BY_CODE.get(refusal.code, {}))
    if refusal.request_id:
        found["x-request-id"] = refusal.request_id
    if refusal.retry_after_ms:
        found["retry-after"] = str(math.ceil(refusal.retry_after_ms / 1000))
    if _READ not in scope and _has_body(Headers(scope=scope)):
        found["connection"] = "close"
    return found


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
