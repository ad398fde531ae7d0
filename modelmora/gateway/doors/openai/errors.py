"""How a refusal is told to a client of OpenAI's: the same codes in its own envelope."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.guard import CHALLENGE
from modelmora.gateway.outcomes import Refusal, answer_of
from modelmora.web.problems import DoorCode


def error_of(refusal: Refusal) -> dict[str, Any]:
    """The envelope `{"error": ...}`; `code` is ours and stable."""
    status = answer_of(refusal.code).http
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    told = {"message": refusal.message, "type": kind, "param": None, "code": str(refusal.code)}
    return {"error": told}


def told(_scope: Scope, refusal: Refusal, *, unread: bool = False) -> Response:
    """How this door tells what no route of it has answered."""
    return refused(refusal, unread=unread)


def refused(refusal: Refusal, *, unread: bool = False) -> Response:
    """The response that tells a refusal; `unread` where the body was not read to its end."""
    headers = {"connection": "close"} if unread else {}
    if refusal.code == DoorCode.UNAUTHENTICATED:
        headers |= CHALLENGE
    if refusal.request_id:
        headers["x-request-id"] = refusal.request_id
    if refusal.retry_after_ms:
        headers["retry-after"] = str(math.ceil(refusal.retry_after_ms / 1000))
    status = answer_of(refusal.code).http
    return Response(orjson.dumps(error_of(refusal)), int(status), headers, "application/json")
