"""What the doors answer, described for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from modelmora.gateway.bodies import InferBody, JsonContent

PROBLEM = "application/problem+json"


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
    status: str = Field(description="`registered`, or `failed` where no node can load it now")
    reason: str | None = Field(description="Why it has failed")


class ModelEntry(ModelHealth):
    """One model of the registry."""

    task: str
    source: str
    max_inputs: int | None = Field(description="Inputs whose outputs fit one answer, if known")


class Models(BaseModel):
    """All models of the registry."""

    models: list[ModelEntry]


class ModelsHealth(BaseModel):
    """All models as the gateway knows them."""

    models: list[ModelHealth]


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an operation, for OpenAPI."""
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        **{status: {"description": "An error", "content": content} for status in statuses},
        "default": {"description": "An error", "content": content},
    }


def infer_description() -> dict[str, Any]:
    """The parts of `POST /infer/{model_name}` that its raw handler does not tell FastAPI."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferBody"}}},
        },
        "parameters": [
            {
                "name": "X-Request-Id",
                "in": "header",
                "required": False,
                "description": "Your own id: asked again, the same outcome is returned.",
                "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,128}$"},
            },
        ],
    }


def schemas() -> dict[str, Any]:
    """The components that the descriptions refer to."""
    named: dict[str, Any] = {}
    for mode, model in (("validation", InferBody), ("validation", Problem)):
        schema = model.model_json_schema(
            mode=mode,  # type: ignore[arg-type]
            ref_template="#/components/schemas/{model}",
        )
        named |= schema.pop("$defs", {})
        named[model.__name__] = schema
    return named
