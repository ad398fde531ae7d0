"""How a refusal of the gateway is told over HTTP."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.guard import CHALLENGE
from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.web import problems
from modelmora.web.problems import DoorCode

_TELLING: Mapping[str, Mapping[str, str]] = {
    DoorCode.UNSUPPORTED_MEDIA_TYPE: {
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
    },
    DoorCode.UNAUTHENTICATED: CHALLENGE,
}


def told(scope: Scope, refusal: Refusal, *, unread: bool = False) -> Response:
    """How this door tells what no route of it has answered."""
    return problem(Request(scope), refusal, unread=unread)


def problem(request: Request, refusal: Refusal, *, unread: bool = False) -> Response:
    """The response that tells a refusal; `unread` where the body was not read to its end."""
    return problems.problem(
        request.scope,
        answer_of(refusal.code).http,
        refusal.code,
        refusal.message,
        request_id=refusal.request_id,
        retry_after_ms=refusal.retry_after_ms,
        headers={
            **_TELLING.get(refusal.code, {}),
            **({"connection": "close"} if unread else {}),
        },
    )
