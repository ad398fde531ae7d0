"""What the paths under `/v2` take and answer, described for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from modelmora.gateway.doors.oip.bodies import OipIndexBody, OipInferBody, OipOrderBody

BODIES = (OipInferBody, OipIndexBody, OipOrderBody)


PREFIX = "/v2"
"""How the paths of this door begin."""
ENVELOPE = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/OipError"}}}}


class OipError(BaseModel):
    """Why a request failed; a header has the stable code."""

    error: str


class OipLive(BaseModel):
    """The process answers."""

    live: bool


class OipReady(BaseModel):
    """Whether requests can be served now."""

    ready: bool


class OipModelReady(OipReady):
    """Whether requests for a model can be served now."""

    name: str


class OipServer(BaseModel):
    """What serves here."""

    name: str
    version: str
    extensions: list[str]


class OipPort(BaseModel):
    """An input or output; a size is -1 where any will do."""

    name: str
    datatype: str
    shape: list[int]


class OipModel(BaseModel):
    """What a model takes and gives; empty where nobody knows."""

    name: str
    versions: list[str]
    platform: str = Field(description="`modelmora_` and its task")
    inputs: list[OipPort]
    outputs: list[OipPort]


class OipIndexed(BaseModel):
    """A model and whether it is in memory."""

    name: str
    version: str
    state: str = Field(description="`READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`")
    reason: str


class OipTensor(BaseModel):
    """An output; its data are here, or as many bytes as `binary_data_size` behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class OipAnswer(BaseModel):
    """A completed request."""

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, Any] | None = None
    outputs: list[OipTensor]


class OipDone(BaseModel):
    """Nothing is told of a load or an unload that is done."""


def _path(name: str, words: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "path", "required": True, "description": words, "schema": schema}


_MODEL = _path("model_name", "`name`, or `name@version`.")
_VERSION = _path("version", "Its version.")
_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "description": "How many bytes of the body are JSON, where bytes of tensors follow.",
    "schema": {"type": "integer", "minimum": 0},
}
_FAULT: dict[int | str, dict[str, Any]] = {
    "default": {"description": "It failed; `error` says what to do next.", "model": OipError}
}
_NOT_READY = "Not now."


def _operation(
    summary: str,
    description: str,
    answer: Any,
    *parameters: dict[str, Any],
    body: type[BaseModel] | None = None,
    example: Any = None,
    not_ready: type[BaseModel] | None = None,
) -> dict[str, Any]:
    extra: dict[str, Any] = {"parameters": [*parameters]} if parameters else {}
    if body:
        schema = {"$ref": f"#/components/schemas/{body.__name__}"}
        content = {"application/json": {"schema": schema, "example": example}}
        extra["requestBody"] = {"required": True, "content": content}
    responses = _FAULT
    if not_ready:
        responses = {**_FAULT, 400: {"description": _NOT_READY, "model": not_ready}}
    return {
        "summary": summary,
        "description": description,
        "response_description": "The answer.",
        "response_model": answer,
        "responses": responses,
        "openapi_extra": extra,
        "tags": ["oip"],
    }


SERVER = _operation("Tell what serves here", "Name, version and extensions.", OipServer)
LIVE = _operation("Tell that the process answers", "As `/health/live`.", OipLive)
READY = _operation(
    "Tell whether requests can be served", "As `/health/ready`.", OipReady, not_ready=OipReady
)
INDEX = _operation(
    "List the models and which are in memory",
    "One that is not is loaded when it is asked for.",
    list[OipIndexed],
    body=OipIndexBody,
    example={"ready": False},
)


def metadata(versioned: bool) -> dict[str, Any]:
    """What a model takes and gives, of one version or of the active one."""
    words = "Inputs and outputs with their types and shapes."
    return _operation("Tell what a model takes and gives", words, OipModel, *_named(versioned))


def ready(versioned: bool) -> dict[str, Any]:
    """Whether a model can be asked."""
    return _operation(
        "Tell whether a model can be asked",
        "Also of one that is loaded when it is asked for.",
        OipModelReady,
        *_named(versioned),
        not_ready=OipModelReady,
    )


def infer(versioned: bool) -> dict[str, Any]:
    """Running a request."""
    return _operation(
        "Run a model on tensors",
        "Texts and images are elements of BYTES tensors. Tensors may follow the JSON as bytes, "
        "there and back.",
        OipAnswer,
        *_named(versioned),
        _LENGTH,
        body=OipInferBody,
        example={
            "inputs": [
                {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Hello, Kafka"]}
            ]
        },
    )


def order(summary: str) -> dict[str, Any]:
    """A load or an unload."""
    words = "It is waited for."
    return _operation(summary, words, OipDone, _MODEL, body=OipOrderBody, example={})


def _named(versioned: bool) -> list[dict[str, Any]]:
    return [_MODEL, _VERSION] if versioned else [_MODEL]
