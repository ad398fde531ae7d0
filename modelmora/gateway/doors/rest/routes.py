"""The REST door: HTTP and JSON to the hall and back, no logic of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from modelmora import __version__
from modelmora.gateway.doors.batches.routes import add_batches
from modelmora.gateway.doors.guarded import HttpGuard
from modelmora.gateway.doors.miraveja import described as miraveja
from modelmora.gateway.doors.miraveja.refusals import refused as miraveja_refused
from modelmora.gateway.doors.miraveja.routes import add_miraveja
from modelmora.gateway.doors.oip import described as oip
from modelmora.gateway.doors.oip.routes import add_oip
from modelmora.gateway.doors.oip.routes import refused as oip_refused
from modelmora.gateway.doors.ollama import described as ollama
from modelmora.gateway.doors.ollama.answers import refused as ollama_refused
from modelmora.gateway.doors.ollama.routes import add_ollama
from modelmora.gateway.doors.ollama.routes import check_type as ollama_type
from modelmora.gateway.doors.openai import described as openai
from modelmora.gateway.doors.openai.errors import refused as openai_refused
from modelmora.gateway.doors.openai.routes import add_openai
from modelmora.gateway.doors.rest import described, forms, problems
from modelmora.gateway.doors.rest.asking import asked
from modelmora.gateway.doors.rest.audit import add_audit
from modelmora.gateway.doors.rest.deadletters import add_dead_letters
from modelmora.gateway.doors.rest.jobs import add_jobs
from modelmora.gateway.doors.rest.objects import add_objects
from modelmora.gateway.doors.rest.orders import add_orders
from modelmora.gateway.doors.rest.pages import add_pages
from modelmora.gateway.doors.rest.reading import Bodies, unless_gone
from modelmora.gateway.doors.rest.registry.budgets import add_budgets
from modelmora.gateway.doors.rest.registry.canaries import add_canaries
from modelmora.gateway.doors.rest.registry.models import add_models
from modelmora.gateway.doors.rest.registry.roles import add_roles
from modelmora.gateway.doors.tellings import Tellings
from modelmora.gateway.hall import Ask, Hall, state_of
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.rights.guard import EVERYBODY, Guard
from modelmora.gateway.rights.permits import EVERYTHING, Permits
from modelmora.gateway.watching import watch
from modelmora.records.limiting import Limiting
from modelmora.telemetry.exposition import exposed
from modelmora.web.events import EVENTS, Events
from modelmora.web.problems import install
from modelmora.web.surface import Surface

JSON_OVER_RECORD = 8  # FP32 as text and escaped text are up to six times their bytes


def create_app(
    hall: Hall,
    metrics: Metrics,
    request_bytes: int,
    guard: Guard = EVERYBODY,
    permits: Permits = EVERYTHING,
    limiting: Limiting | None = None,
) -> FastAPI:
    """The ASGI app; `request_bytes` is the limit of an encoded request.

    `limiting` are the budgets that count; without it those of the registry do.
    """
    # FastAPI's own pages load scripts from a foreign host.
    app = FastAPI(
        title="ModelMora",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.openapi = cache(partial(described.openapi, app))  # type: ignore[method-assign]
    tellings = Tellings(
        {
            "": problems.problem,
            openai.PREFIX: openai_refused,
            oip.PREFIX: oip_refused,
            miraveja.PREFIX: miraveja_refused,
            ollama.PREFIX: ollama_refused,
        }
    )
    install(app, tellings.framework)
    tellings.install(app)
    app.add_middleware(
        Surface, routes=app.routes, tell=tellings.framework, handlers=app.exception_handlers
    )
    app.add_middleware(HttpGuard, guard=guard, permits=permits, metrics=metrics, tellings=tellings)
    body_limit = request_bytes * JSON_OVER_RECORD
    bodies = Bodies(hall, metrics, "rest", body_limit)
    _add_infer(app, bodies)
    add_jobs(app, bodies)
    add_openai(app, Bodies(hall, metrics, "openai", body_limit))
    add_batches(app, Bodies(hall, metrics, "openai", body_limit))
    add_ollama(app, Bodies(hall, metrics, "ollama", body_limit, ollama_type))
    add_oip(app, hall, metrics, body_limit)
    add_miraveja(app, Bodies(hall, metrics, "miraveja", body_limit))
    add_models(app, hall, metrics)
    add_canaries(app, hall, metrics)
    add_orders(app, hall, metrics)
    add_roles(app, hall, metrics, permits)
    add_dead_letters(app, hall, metrics)
    add_audit(app, hall)
    limiting = limiting or Limiting({}, hall.registrar.state)
    add_budgets(app, hall, metrics, permits, limiting)
    add_objects(app, hall, metrics)
    _add_models_health(app, hall)
    _add_health(app, hall)
    _add_probes(app, hall)
    _add_metrics(app, metrics)
    add_pages(app, hall)
    return app


def _add_health(app: FastAPI, hall: Hall) -> None:
    @app.get(
        "/health",
        summary="Tell how the gateway is",
        description="Always 200 while the process lives; `faults` says what is wrong.",
        response_description="How it is.",
        response_model=described.Health,
        tags=["health"],
    )
    async def health() -> dict[str, Any]:
        verdict = hall.verdict()
        return {
            "status": "unavailable" if verdict.faults else "ok",
            "faults": verdict.faults,
            "degraded": verdict.degraded,
            "ages": verdict.ages,
            "models": len(hall.models()),
            "version": __version__,
        }


def _add_probes(app: FastAPI, hall: Hall) -> None:
    @app.get(
        "/health/live",
        summary="Tell that the process answers",
        description="For a liveness probe: no answer for some time, and it is to be restarted.",
        response_description="It lives.",
        response_model=described.Live,
        tags=["health"],
    )
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get(
        "/health/started",
        summary="Tell that the start is over",
        description="For a start-up probe: it has read the registry and listens. It stays so.",
        response_description="It has started.",
        response_model=described.Started,
        tags=["health"],
    )
    async def started() -> dict[str, bool]:
        return {"started": True}

    @app.get(
        "/health/ready",
        summary="Tell whether requests can be served now",
        description="For a readiness probe. The broker must answer, and a node must serve.",
        response_description="They can.",
        response_model=described.Ready,
        responses={503: {"model": described.Ready, "description": "Not now; `faults` says why."}},
        tags=["health"],
    )
    async def ready() -> JSONResponse:
        faults = hall.faults()
        body = {"ready": not faults, "faults": faults}
        return JSONResponse(body, 503 if faults else 200)


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def prometheus(request: Request) -> Response:
        text, media_type = exposed(metrics.registry, request.headers.get("accept", ""))
        return Response(text, media_type=media_type)


def _add_models_health(app: FastAPI, hall: Hall) -> None:
    @app.get(
        "/health/models",
        summary="Tell what is known of each model",
        description="Where a model is loaded only its node knows: see the node's `/health/models`.",
        response_description="The models and the state of each.",
        response_model=described.ModelsHealth,
        tags=["health"],
    )
    async def models_health() -> dict[str, Any]:
        return {
            "models": [
                {"name": model.name, "version": model.version, **state_of(hall, model)}
                for model in hall.models()
            ]
        }


def _add_infer(app: FastAPI, bodies: Bodies) -> None:
    hall = bodies.hall

    # Path and body are read and validated by hand: what FastAPI would do with them costs more.
    @app.post(
        "/infer/{model_name}",
        summary="Run a model and wait for its outcome",
        description="The request goes onto its topic like any other; the answer is its one "
        "outcome. Hanging up cancels it.",
        response_description="The outputs, and where the time went.",
        response_model=described.InferAnswer,
        responses={
            200: {"content": {**forms.STREAMED, **forms.BINARY}},
            **described.problem_responses(),
        },
        openapi_extra=described.infer_description(),
        tags=["infer"],
    )
    async def infer(request: Request) -> Response:
        ask = await asked(bodies, request)
        form = forms.form_of(", ".join(request.headers.getlist("accept")))
        if form == EVENTS:
            return await _stream(hall, ask, request)
        result = await unless_gone(hall.infer(ask), request.receive)
        if form == forms.JSON:
            return forms.answer(result, form)
        async with hall.shelf.whole(result, hall) as whole:
            return forms.answer(whole, form)


async def _stream(hall: Hall, ask: Ask, request: Request) -> Response:
    """The answer as events; what is refused before there is one is told by its status."""
    coming = watch(hall, [replace(ask, progress=True)])
    first = await unless_gone(anext(coming), request.receive)
    return Events(forms.events(request, first, coming), headers={"vary": "accept"})
