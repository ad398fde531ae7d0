"""How a refusal is told under `/modelmora/v1`."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response
from starlette.types import Scope

from modelmora.gateway.doors.miraveja.answers import refusal_of
from modelmora.gateway.outcomes import Refusal


def refused(_scope: Scope, refusal: Refusal, headers: Mapping[str, str]) -> Response:
    """The response that tells a refusal."""
    body, status = refusal_of(refusal)
    later = body["retryAfterSeconds"]
    response = Response(orjson.dumps(body), int(status), headers, "application/json")
    del response.headers["retry-after"]
    if later is not None:
        response.headers["retry-after"] = str(later)
    return response
