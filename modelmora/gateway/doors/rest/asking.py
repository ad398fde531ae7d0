"""The request that a call of REST makes: its id and its body."""

from __future__ import annotations

import re
from hashlib import sha256

from starlette.requests import Request

from modelmora.errors import Code
from modelmora.gateway.caller import caller
from modelmora.gateway.doors.rest.bodies import read_ask
from modelmora.gateway.doors.rest.reading import Bodies
from modelmora.gateway.hall import Ask, check_request_id
from modelmora.gateway.outcomes import Refusal
from modelmora.web.problems import trace_of

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


async def asked(bodies: Bodies, request: Request) -> Ask:
    """What is asked. Raises Refusal, ClientDisconnect."""
    request_id: str | None = None
    try:
        async with bodies.of(request) as body:
            request_id = request_id_of(request)
            return read_ask(
                request.path_params["model_name"],
                body,
                request_id=request_id,
                traceparent=trace_of(request.scope),
            )
    except Refusal as refusal:
        refusal.request_id = refusal.request_id or request_id or ""
        raise


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
