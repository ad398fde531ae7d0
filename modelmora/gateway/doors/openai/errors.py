"""How a refusal is told to a client of OpenAI's: the same codes in its own envelope."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.outcomes import Refusal, answer_of


def error_of(refusal: Refusal) -> dict[str, Any]:
    """The envelope `{"error": ...}`; `code` is ours and stable."""
    status = answer_of(refusal.code).http
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    told = {"message": refusal.message, "type": kind, "param": None, "code": str(refusal.code)}
    return {"error": told}


def refused(_scope: Scope, refusal: Refusal, headers: Mapping[str, str]) -> Response:
    """The response that tells a refusal."""
    status = answer_of(refusal.code).http
    return Response(orjson.dumps(error_of(refusal)), int(status), headers, "application/json")
