"""What the REST door takes and answers, described for OpenAPI and so for `/docs`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from modelmora.gateway.doors.miraveja import described as miraveja
from modelmora.gateway.doors.openai import described as openai
from modelmora.gateway.doors.rest.bodies import InferBody, OrderBody
from modelmora.gateway.doors.rest.catalogue import Choice
from modelmora.messages import State
from modelmora.settings import ModelConfig, ModelDetails
from modelmora.web.problems import PROBLEM
from modelmora.wire.forms import JsonContent

ABOUT = (
    "Errors are `application/problem+json`: `code` is stable, `detail` says what to do next. "
    "No credentials are asked for."
)
TAGS = [
    {"name": "infer", "description": "Run a model"},
    {"name": "openai", "description": "What clients of OpenAI's call"},
    {"name": "miraveja", "description": "What MiraVeja's services call"},
    {"name": "models", "description": "Which models there are"},
    {"name": "health", "description": "Whether it is well"},
]
EXAMPLE = {"inputs": ["Hello, Kafka", "Bonjour, Kafka"], "timeout_ms": 30_000}


class TimingsBody(BaseModel):
    """Milliseconds spent waiting, loading the model, computing, and in all."""

    queue_ms: float
    load_ms: float
    inference_ms: float
    total_ms: float


class InferAnswer(BaseModel):
    """A completed request."""

    request_id: str
    model: str
    version: str
    outputs: list[JsonContent]
    settings: dict[str, bool | int | float | str | list[str] | None]
    """Those used in fact, such as the seed that was drawn."""
    timings: TimingsBody


class Problem(BaseModel):
    """An error (RFC 9457); `code` is stable, `detail` says what to do next."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    request_id: str | None = None
    retry_after_ms: int | None = None


class Health(BaseModel):
    """How the gateway is."""

    status: str = Field(description="`ok`, or `unavailable` for the reasons in `faults`")
    faults: list[str]
    models: int
    version: str


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """Whether requests can be served now; `faults` says why not."""

    ready: bool
    faults: list[str]


class ModelHealth(BaseModel):
    """One model as the gateway knows it; where it is loaded only its node knows."""

    name: str
    version: str
    state: State | None = Field(
        description="Where it stands on the node where it is best; null where no node runs"
    )
    reason: str | None = Field(description="Why it has failed")


class ModelsHealth(BaseModel):
    """All models as the gateway knows them."""

    models: list[ModelHealth]


_WHY = {
    HTTPStatus.BAD_REQUEST: "The request does not suit: `invalid_input`, `unknown_parameter`.",
    HTTPStatus.NOT_FOUND: "No such model: `unknown_model`.",
    HTTPStatus.NOT_ACCEPTABLE: "The answer has another form: `not_acceptable`.",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not come in time: `too_slow`.",
    HTTPStatus.CONFLICT: "The request was taken back: `cancelled`.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "More than a request may be: `too_large`.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "No JSON, or packed otherwise than by gzip or deflate.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "It failed: `worker_crash`, `inference_failed` and others.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not now: `busy`, `no_node`, `broker_unreachable`; "
    "`Retry-After` says when.",
    HTTPStatus.GATEWAY_TIMEOUT: "Its time is over: `expired`.",
}


def _problem() -> dict[str, Any]:
    return {"content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def problem_responses() -> dict[int | str, dict[str, Any]]:
    """The errors of `POST /infer/{model_name}`."""
    content = _problem()["content"]
    told: dict[int | str, Any] = {
        int(status): {"description": why, "content": content} for status, why in _WHY.items()
    }
    return {**told, "default": {"description": "Any other error", "content": content}}


def order_responses(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What an order ends with beside 200."""
    accepted = {"description": "It is written; `look` says where to see more.", "model": answer}
    refused = {"description": "Not as things are: `refused`."}
    return {**problem_responses(), 202: accepted, 409: {**_problem(), **refused}}


def takes(body: str, example: Any) -> dict[str, Any]:
    """The parts of an order that its raw handler does not tell FastAPI."""
    schema = {"schema": {"$ref": f"#/components/schemas/{body}"}, "example": example}
    named = {"name": "model_name", "in": "path", "required": True, "schema": {"type": "string"}}
    words = {"description": "`name`, or `name@version` for one version."}
    return {
        "requestBody": {"required": True, "content": {"application/json": schema}},
        "parameters": [named | words],
    }


def infer_description() -> dict[str, Any]:
    """The parts of `POST /infer/{model_name}` that its raw handler does not tell FastAPI."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/InferBody"},
                    "example": EXAMPLE,
                }
            },
        },
        "parameters": [
            {
                "name": "model_name",
                "in": "path",
                "required": True,
                "description": "`name`, or `name@version` for one version.",
                "schema": {"type": "string"},
            },
            {
                "name": "X-Request-Id",
                "in": "header",
                "required": False,
                "description": "Your own id: asked again, the same outcome is returned.",
                "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,128}$"},
            },
            {
                "name": "traceparent",
                "in": "header",
                "required": False,
                "description": "W3C trace context, which the request carries on.",
                "schema": {"type": "string"},
            },
        ],
    }


def openapi(app: FastAPI) -> dict[str, Any]:
    """The description of this app."""
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=ABOUT,
        tags=TAGS,
        routes=app.routes,
    )
    named = schema.setdefault("components", {}).setdefault("schemas", {})
    bodies = (InferBody, OrderBody, Problem, ModelConfig, ModelDetails, Choice)
    named[miraveja.REQUEST] = miraveja.EITHER
    for model in (*bodies, *openai.BODIES, *miraveja.BODIES):
        own = model.model_json_schema(ref_template="#/components/schemas/{model}")
        named.update(own.pop("$defs", {}))
        named[model.__name__] = own
    return schema
