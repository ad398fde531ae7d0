"""The audit over HTTP: who did what, and whether what is told of it is true."""

from __future__ import annotations

import orjson
from fastapi import FastAPI, Request
from starlette.responses import Response

from modelmora.gateway.cluster.reports import told_report
from modelmora.gateway.doors.rest import administered
from modelmora.gateway.doors.rest.reading import unless_gone
from modelmora.gateway.hall import Hall
from modelmora.gateway.queries import cursor_of, once, only, records_asked


def add_audit(app: FastAPI, hall: Hall) -> None:
    """Serve `/audit` and what is below it."""

    @app.get("/audit", **administered.AUDIT)
    async def audit(request: Request) -> Response:
        wanted, part = records_asked(once(request.query_params.multi_items()))
        work = hall.administration.audit(part.limit, wanted, part.since, part.before)
        page = await unless_gone(work, request.receive)
        shown = [entry.as_json() for entry in page.items]
        return _json({"records": shown, "next": cursor_of(page.before)})

    @app.get("/audit/verify", **administered.VERIFY)
    async def verify(request: Request) -> Response:
        only(once(request.query_params.multi_items()), ())
        report = await unless_gone(hall.administration.verify(), request.receive)
        return _json(told_report(report))


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
