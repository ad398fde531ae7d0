"""The request that a call of REST makes: its id and its body."""

from __future__ import annotations

import re
from hashlib import sha256

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from modelmora.errors import Code
from modelmora.gateway.caller import caller
from modelmora.gateway.doors.rest import problems
from modelmora.gateway.doors.rest.bodies import read_ask
from modelmora.gateway.doors.rest.reading import CALLER_GONE, Body
from modelmora.gateway.hall import Ask, Hall, check_request_id
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.web.problems import trace_of

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


async def asked(hall: Hall, request: Request, metrics: Metrics, body_limit: int) -> Ask | Response:
    """What is asked, or the response that refuses it."""
    body = Body(hall, request, body_limit)
    request_id: str | None = None
    try:
        request_id = request_id_of(request)
        return read_ask(
            request.path_params["model_name"],
            await body.read(),
            request_id=request_id,
            traceparent=trace_of(request.scope),
        )
    except Refusal as refusal:
        refusal.request_id = refusal.request_id or request_id or ""
        metrics.refused("rest", refusal.code)
        return problems.problem(request, refusal, unread=not body.whole)
    except ClientDisconnect:
        return Response(status_code=CALLER_GONE)
    finally:
        body.release()


def request_id_of(request: Request) -> str | None:
    """The caller's own id: as it is (`X-Request-Id`), or made of its `Idempotency-Key`.

    One key of one principal is always the same id. Raises Refusal.
    """
    given = check_request_id(", ".join(request.headers.getlist("x-request-id")))
    key = ", ".join(request.headers.getlist("idempotency-key"))
    if not key:
        return given
    if not _KEY.fullmatch(key):
        raise Refusal(
            Code.INVALID_INPUT, "an Idempotency-Key is 1 to 255 printable ASCII characters"
        )
    made = "key-" + sha256(f"{caller.get()}\0{key}".encode()).hexdigest()[:32]
    if given not in (None, made):
        raise Refusal(
            Code.INVALID_INPUT,
            "X-Request-Id is another id than that of this Idempotency-Key; send one of them",
        )
    return made
