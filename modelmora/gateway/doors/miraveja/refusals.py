"""How a refusal is told under `/modelmora/v1`."""

from __future__ import annotations

import orjson
from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.doors.miraveja.answers import refusal_of
from modelmora.gateway.guard import CHALLENGE
from modelmora.gateway.outcomes import Refusal
from modelmora.web.problems import DoorCode


def told(_scope: Scope, refusal: Refusal, *, unread: bool = False) -> Response:
    """How this door tells what no route of it has answered."""
    return refused(refusal, unread=unread)


def refused(refusal: Refusal, *, unread: bool = False) -> Response:
    """The response that tells a refusal; `unread` where the body was not read to its end."""
    body, status = refusal_of(refusal)
    headers = {"connection": "close"} if unread else {}
    if refusal.code == DoorCode.UNAUTHENTICATED:
        headers |= CHALLENGE
    if body["retryAfterSeconds"] is not None:
        headers["retry-after"] = str(body["retryAfterSeconds"])
    return Response(orjson.dumps(body), int(status), headers, "application/json")
