"""Dead letters over HTTP: listed, read, put back on their lanes, purged."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.responses import Response

from modelmora.deadletters.contents import told_request
from modelmora.errors import Code
from modelmora.gateway.doors.rest import administered
from modelmora.gateway.doors.rest.administered import PurgeBody, ReplayBody
from modelmora.gateway.doors.rest.bodies import read_body
from modelmora.gateway.doors.rest.reading import Bodies, unless_gone
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.queries import cursor_of, letters_asked, meant, once, only
from modelmora.kafka.reading.reader import Record

B = TypeVar("B", bound=BaseModel)
BODY_BYTES = 1 << 16


def add_dead_letters(app: FastAPI, hall: Hall, metrics: Metrics) -> None:
    """Serve `/dead-letters` and what is below it."""
    bodies = Bodies(hall, metrics, "rest", BODY_BYTES)
    letters = hall.administration

    @app.get("/dead-letters", **administered.LETTERS)
    async def dead_letters(request: Request) -> Response:
        wanted, part = letters_asked(once(request.query_params.multi_items()))
        work = letters.letters(part.limit, wanted, part.before)
        page = await unless_gone(work, request.receive)
        shown = [letter.as_json() for letter in page.items]
        return _json({"dead_letters": shown, "next": cursor_of(page.before)})

    @app.get("/dead-letters/{which}", **administered.LETTER)
    async def dead_letter(request: Request) -> Response:
        content = _content(once(request.query_params.multi_items()))
        work = letters.letter(request.path_params["which"], content=content)
        found = await unless_gone(work, request.receive)
        shown = [letter.as_json() | _record(record, content=content) for letter, record in found]
        return _json({"dead_letters": shown})

    @app.post("/dead-letters/replay", **administered.REPLAY)
    async def replay(request: Request) -> Response:
        body = await _read(bodies, request, ReplayBody)
        told = {"code": body.code, "model": body.model, "since": body.since}
        named = meant(body.which, told, every=body.all)
        work = letters.replay(named, again=body.again, dry_run=body.dry_run)
        found = await unless_gone(work, request.receive)
        shown = [each.as_json() for each in found.reruns]
        return _json({"reruns": shown, "left_out": found.left_out})

    @app.post("/dead-letters/purge", **administered.PURGE)
    async def purge(request: Request) -> Response:
        body = await _read(bodies, request, PurgeBody)
        told = {"code": body.code, "model": body.model, "before": body.before}
        named = meant(body.which, told, every=body.all)
        work = letters.purge(named, dry_run=body.dry_run)
        found = await unless_gone(work, request.receive)
        return _json({"purged": found.purged, "removed": found.removed})


def _content(told: dict[str, str]) -> bool:
    only(told, ("content",))
    given = told.get("content", "false")
    if given not in ("true", "false"):
        raise Refusal(Code.INVALID_INPUT, "content: is true or false")
    return given == "true"


def _record(record: Record, *, content: bool) -> dict[str, Any]:
    headers = [
        {"name": name, "value": None if value is None else value.decode("utf-8", "replace")}
        for name, value in record.headers
    ]
    return {"headers": headers, "request": told_request(record.plain) if content else None}


async def _read(bodies: Bodies, request: Request, kind: type[B]) -> B:
    async with bodies.of(request) as raw:
        return read_body(kind, raw)


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
