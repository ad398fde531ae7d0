"""What the paths under `/modelmora/v1` take and answer, described for OpenAPI."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from modelmora.gateway.doors.miraveja.bodies import (
    AcceptedRequest,
    Availability,
    GenerationStatus,
    ImageRequest,
    RefusalAnswer,
    ServedModels,
    TextRequest,
)

BODIES = (TextRequest, ImageRequest)
PREFIX = "/modelmora/v1"
"""How the paths of this door begin."""
ENVELOPE = {
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RefusalAnswer"}}}
}
REQUEST = "GenerationRequest"
_REFERENCE = "#/components/schemas/"
EITHER: dict[str, Any] = {
    "description": "Either of both, by its `kind`.",
    "oneOf": [{"$ref": f"{_REFERENCE}{each.__name__}"} for each in BODIES],
    "discriminator": {
        "propertyName": "kind",
        "mapping": {
            "text": f"{_REFERENCE}{TextRequest.__name__}",
            "image": f"{_REFERENCE}{ImageRequest.__name__}",
        },
    },
    "required": ["kind"],
    "properties": {
        "kind": {
            "type": "string",
            "enum": ["text", "image"],
            "description": "`text` (with `instructions`) or `image` (with `description`, `size`).",
        }
    },
}
"""The body of a request, which is no class of its own."""
_WHY = {
    HTTPStatus.BAD_REQUEST: "It cannot be used: `invalid_request`.",
    HTTPStatus.UNAUTHORIZED: "The bearer token names nobody: `invalid_request`.",
    HTTPStatus.NOT_FOUND: "There is none: `unknown_model`, or `invalid_request` for a request.",
    HTTPStatus.CONFLICT: "Not as things stand: `cannot_be_served_on_this_studio`, or not finished.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not now: `busy`, `starting`, `stopping`, `model_unavailable`.",
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    int(status): {"description": why, "model": RefusalAnswer} for status, why in _WHY.items()
}


def _operation(
    name: str, summary: str, description: str, answer: type[BaseModel] | None, **more: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "summary": summary,
        "description": description,
        "response_description": "The answer.",
        "response_model": answer,
        "responses": _REFUSALS,
        "tags": ["miraveja"],
        **more,
    }


def _parameter(name: str, where: str, words: str, schema: dict[str, Any]) -> dict[str, Any]:
    told = {"name": name, "in": where, "required": where == "path", "description": words}
    return told | {"schema": schema}


_ID = _parameter("requestId", "path", "As it was accepted.", {"type": "string"})
_SECONDS = {"type": "integer", "minimum": 0, "maximum": 30, "default": 0}
_WAIT = _parameter("waitSeconds", "query", "How long to wait for its end.", _SECONDS)
_TAKEN = {"schema": {"$ref": f"{_REFERENCE}{REQUEST}"}}
_EXAMPLE = {"example": {"kind": "text", "instructions": "Say hello."}}
SUBMIT = _operation(
    "miraveja_submit",
    "Ask for a text or an image, and go on",
    "Answers at once: accepted, or refused with a reason. Its model is settled now.",
    AcceptedRequest,
    status_code=int(HTTPStatus.ACCEPTED),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": _TAKEN | _EXAMPLE}}
    },
)
STATUS = _operation(
    "miraveja_status",
    "Tell how a request stands",
    "At once, or as soon as it has ended within `waitSeconds`.",
    GenerationStatus,
    openapi_extra={"parameters": [_ID, _WAIT]},
)
WITHDRAW = _operation(
    "miraveja_withdraw",
    "Withdraw a request",
    "What had not begun never runs; what has ended stays as it is.",
    GenerationStatus,
    openapi_extra={"parameters": [_ID]},
)
IMAGE = _operation(
    "miraveja_image",
    "Read the image of a request",
    "While it is held.",
    None,
    openapi_extra={"parameters": [_ID]},
)
IMAGE["responses"] = {
    200: {
        "description": "The image.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    },
    **_REFUSALS,
}
MODELS = _operation(
    "miraveja_models",
    "List the models of texts and images",
    "With the defaults, which answer where a request names none.",
    ServedModels,
)
AVAILABILITY = _operation(
    "miraveja_availability",
    "Tell whether requests are taken",
    "And how many wait, and how many models can answer.",
    Availability,
)
