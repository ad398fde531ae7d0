"""Health and metrics of one node, over HTTP; ready means that a request would be served now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from html import escape
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelmora.access.certificates import Certificates
from modelmora.node.metrics import NodeMetrics
from modelmora.settings import Settings
from modelmora.telemetry.exposition import exposed
from modelmora.telemetry.health import Verdict
from modelmora.text import counted
from modelmora.web.look import code, page, status_line, table
from modelmora.web.problems import install
from modelmora.web.server import HttpServer
from modelmora.web.surface import Surface

Look = Callable[[], Verdict]
Facts = Callable[[], Mapping[str, Any]]
"""`waiting_for`: what it needs to become ready; `partitions`: how many lane partitions it has;
`serves`: which models; `failed`: why others cannot be loaded; `unreadable`: what hides models."""
ModelRows = Callable[[], list[dict[str, Any]]]


def health_app(look: Look, facts: Facts, models: ModelRows, metrics: NodeMetrics) -> Starlette:
    """`/`, `/health` and what is below it, `/metrics`."""

    def answer(content: Any, ok: bool = True) -> Response:
        body = orjson.dumps(content)
        return Response(body, 200 if ok else 503, media_type="application/json")

    async def live(_: Request) -> Response:
        return answer({"status": "live"})

    async def started(_: Request) -> Response:
        waiting_for = facts()["waiting_for"]
        told = {"started": waiting_for is None, "waiting_for": waiting_for}
        return answer(told, waiting_for is None)

    def standing() -> tuple[bool, dict[str, Any]]:
        verdict, told = look(), facts()
        ok = verdict.ready
        status = ("ready" if told["partitions"] else "standby") if ok else "not ready"
        found = asdict(verdict)
        del found["faults"]  # which `why` has
        return ok, {"status": status, **found, **told}

    async def landing(_: Request) -> Response:
        return _landing(standing()[1], models())

    async def ready(_: Request) -> Response:
        ok, told = standing()
        return answer(told, ok)

    async def rows(_: Request) -> Response:
        return answer(models())

    async def scrape(request: Request) -> Response:
        text, media_type = exposed(metrics.registry, request.headers.get("accept", ""))
        return Response(text, media_type=media_type)

    routes = [
        Route("/", landing),
        Route("/health", ready),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/health/started", started),
        Route("/health/models", rows),
        Route("/metrics", scrape),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Surface, routes=routes)])
    install(app)
    return app


def health_server(app: Starlette, settings: Settings) -> HttpServer:
    """Where it is served, with TLS where these settings name a certificate."""
    own = Certificates.of(settings)
    tls = own.context() if own else None
    return HttpServer(app, settings.host, settings.node_http_port, tls)


def _landing(told: Mapping[str, Any], models: list[dict[str, Any]]) -> Response:
    faults = [f"{check}: {why}" for check, why in told["why"].items()]
    faults += [f"{check} (not needed by all): {why}" for check, why in told["degraded"].items()]
    if told["waiting_for"]:
        faults.append(f"waiting for {told['waiting_for']}")
    rows = [
        (code(each["name"]), escape(each["version"]), escape(each["state"]), str(each["waiting"]))
        for each in models
    ]
    there = table(("name", "version", "state", "waiting"), rows)
    body = (
        "<h1>A node: it reads requests and writes outcomes</h1>"
        f"<p>It reads {counted(told['partitions'], 'partition')} of the lanes.</p>"
        f"{status_line(told['status'], faults)}<h2>Models</h2>"
        f"{there if rows else '<p class=soft>It serves none.</p>'}"
        '<p class="soft">Requests come over Kafka, or through a gateway; not to this port.</p>'
    )
    links = {"Health": "/health", "Models": "/health/models", "Metrics": "/metrics"}
    return page("ModelMora node", body, links)
