"""What the REST door takes and answers, described for OpenAPI and so for `/docs`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field
from starlette.responses import Response

from modelmora.gateway.calls.jobs import JobState
from modelmora.gateway.doors.batches.described import BatchBody
from modelmora.gateway.doors.guarded import OPEN_PATHS
from modelmora.gateway.doors.miraveja import described as miraveja
from modelmora.gateway.doors.oip import described as oip
from modelmora.gateway.doors.ollama import described as ollama
from modelmora.gateway.doors.openai import described as openai
from modelmora.gateway.doors.rest import forms
from modelmora.gateway.doors.rest.administered import PurgeBody, ReplayBody
from modelmora.gateway.doors.rest.bodies import InferBody, ObjectBody, OrderBody
from modelmora.gateway.doors.rest.registry.budgets import BudgetBody
from modelmora.gateway.doors.rest.registry.catalogue import Choice
from modelmora.gateway.doors.rest.registry.roles import GrantBody, RoleBody
from modelmora.gateway.hall import MOST_WAIT_S
from modelmora.messages import State
from modelmora.settings import ModelConfig, ModelDetails
from modelmora.settings.canaries import CanaryPlan
from modelmora.settings.routes import Route
from modelmora.web.problems import PROBLEM
from modelmora.wire.forms import JsonContent

ABOUT = (
    "Errors are `application/problem+json`: `code` is stable, `detail` says what to do next. "
    "Where callers must say who they are, each call sends an API key or a token: "
    "`Authorization: Bearer ...`."
)
TAGS = [
    {"name": "infer", "description": "Run a model"},
    {"name": "jobs", "description": "Run a model without waiting"},
    {"name": "openai", "description": "What clients of OpenAI's call"},
    {"name": "ollama", "description": "What clients of Ollama's call"},
    {"name": "oip", "description": "What clients of the Open Inference Protocol (v2) call"},
    {"name": "miraveja", "description": "What MiraVeja's services call"},
    {"name": "models", "description": "Which models there are"},
    {"name": "rights", "description": "Who may do what"},
    {"name": "dead letters", "description": "What can never become a result"},
    {"name": "audit", "description": "Who did what"},
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
    degraded: dict[str, str] = Field(description="What is wrong with what not all requests need")
    ages: dict[str, float] = Field(
        description="For how long (s) what is owed was owed, by its name"
    )
    models: int
    version: str


class Live(BaseModel):
    """The process answers."""

    live: bool


class Started(BaseModel):
    """The start is over."""

    started: bool


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
    HTTPStatus.TOO_MANY_REQUESTS: "A budget is used up: `rate_limited`; `Retry-After` says when.",
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
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Your own key, from which an id of yours is made.",
                "schema": {"type": "string", "pattern": "^[\\x20-\\x7e]{1,255}$"},
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


class JobError(BaseModel):
    """Why a job has no result."""

    code: str
    message: str
    retry_after_ms: int | None


class JobAnswer(BaseModel):
    """How a job stands; times are Unix ms, null is what nobody knows (yet)."""

    request_id: str
    model: str
    version: str | None
    state: JobState
    position: int | None = Field(description="Requests ahead of it")
    estimate_ms: float | None = Field(description="How long until it starts")
    step: int | None = Field(description="Steps that are done; without `steps` tokens of a text")
    steps: int | None
    progress: float | None = Field(description="`step` of `steps`, 0 to 1")
    submitted_at: int
    ended_at: int | None
    held_until: int | None = Field(description="When its result is gone")
    error: JobError | None = Field(description="Why it ended without a result")


def _of_job(
    summary: str,
    description: str,
    answer: str,
    parameters: tuple[dict[str, Any], ...] = (),
    **more: Any,
) -> dict[str, Any]:
    """The parts of an operation on a job; `default` is every error."""
    named = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}}
    words = {"description": "The `request_id` of the job."}
    refused = {"description": "Any error; another's job is `not_found`.", **_problem()}
    return {
        "summary": summary,
        "description": description,
        "response_description": answer,
        "response_model": JobAnswer,
        "responses": {"default": refused, **more.pop("responses", {})},
        "openapi_extra": {"parameters": [named | words, *parameters]},
        "tags": ["jobs"],
        **more,
    }


_WAIT = {
    "name": "wait_s",
    "in": "query",
    "required": False,
    "description": "Answer once it has ended, or after so many seconds.",
    "schema": {"type": "number", "minimum": 0, "maximum": MOST_WAIT_S},
}
JOB = _of_job("Tell how a job stands", "Any gateway tells of any job.", "How it stands.", (_WAIT,))
CANCEL = _of_job(
    "Cancel a job",
    "What has ended by then stays as it is.",
    "It has ended.",
    responses={202: {"model": JobAnswer, "description": "It is about to end."}},
)
RESULT = _of_job(
    "Read the result of a job",
    "In the forms of `POST /infer/{model_name}` but events. Before the job has ended it is "
    "`not_finished`, after its time `gone`; a job that failed is told as it failed.",
    "The outputs, and where the time went.",
    response_model=InferAnswer,
    responses={200: {"content": forms.BINARY}},
)
JOB_EVENTS = _of_job(
    "Follow a job",
    "Server-sent events: `job` as it stands, `progress` as it comes, and last `job` as it has "
    "ended. Leaving leaves the job alone.",
    "The events.",
    response_model=None,
    responses={200: {"content": forms.STREAMED}},
    response_class=Response,
)


SUBMIT: dict[str, Any] = {
    "summary": "Run a model without waiting",
    "description": "Answered once the request is written; the job survives its caller and "
    "every gateway. The same id or key again is the same job.",
    "response_description": "The job; `Location` is where to ask for it.",
    "response_model": JobAnswer,
    "status_code": 202,
    "responses": problem_responses(),
    "openapi_extra": infer_description(),
    "tags": ["jobs"],
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
    asked = (InferBody, OrderBody, ObjectBody, ModelConfig, ModelDetails, Choice, Route, CanaryPlan)
    bodies = (*asked, Problem)
    named[miraveja.REQUEST] = miraveja.EITHER
    others = (
        *bodies,
        RoleBody,
        GrantBody,
        ReplayBody,
        PurgeBody,
        BudgetBody,
        *openai.BODIES,
        BatchBody,
        *oip.BODIES,
        *miraveja.BODIES,
    )
    for name, model in {**{each.__name__: each for each in others}, **ollama.BODIES}.items():
        own = model.model_json_schema(ref_template="#/components/schemas/{model}")
        named.update(own.pop("$defs", {}))
        named[name] = own
    schema["components"]["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, or a token of the issuer.",
        }
    }
    for path, operations in schema["paths"].items():
        if path not in OPEN_PATHS:
            for operation in operations.values():
                operation["security"] = [{}, {"key": []}]
                operation["responses"]["401"] = _shut(path, _UNKNOWN)
                if not path.startswith(miraveja.PREFIX):  # which knows no 403
                    operation["responses"]["403"] = _shut(path, _UNGRANTED)
    return schema


_UNKNOWN = "Nobody is known by what was sent: `unauthenticated`."
_UNGRANTED = "Its principal has no role that allows it: `forbidden`."


def _shut(path: str, why: str) -> dict[str, Any]:
    told: dict[str, Any] = {"description": why}
    for door in (openai, oip, miraveja, ollama):
        if path.startswith(door.PREFIX):
            return {**told, **door.ENVELOPE}
    return {**told, **_problem()}
