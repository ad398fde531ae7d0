"""What the paths under `/api` take and answer, described for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from modelmora.gateway.doors.ollama.bodies import (
    ChatBody,
    EmbedBody,
    GenerateBody,
    OldEmbedBody,
    ShowBody,
)

PREFIX = "/api"
"""What all paths of this door lie under."""


class OllamaError(BaseModel):
    """Why a request failed."""

    error: str


class OllamaVersion(BaseModel):
    """The version of the API."""

    version: str


class OllamaModels(BaseModel):
    """Models."""

    models: list[dict[str, Any]]


class OllamaShown(BaseModel):
    """What is told of a model."""

    details: dict[str, Any]
    model_info: dict[str, Any]
    capabilities: list[str]


class OllamaText(BaseModel):
    """A text, or a part of one; durations in ns."""

    model: str
    created_at: str
    done: bool
    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class OllamaGenerated(OllamaText):
    """Of `/api/generate`."""

    response: str


class OllamaSaid(OllamaText):
    """Of `/api/chat`."""

    message: dict[str, Any]


class OllamaVectors(BaseModel):
    """A vector for each text."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaVector(BaseModel):
    """One vector."""

    embedding: list[float]


ENVELOPE = {
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OllamaError"}}}
}
BODIES: dict[str, type[BaseModel]] = {
    f"Ollama{each.__name__}": each
    for each in (ShowBody, GenerateBody, ChatBody, EmbedBody, OldEmbedBody)
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"description": "It failed; the words say why.", "model": OllamaError}
}
_LINES = {"application/x-ndjson": {"schema": {"type": "string"}}}


def _operation(
    summary: str,
    description: str,
    answer: type[BaseModel],
    body: type[BaseModel] | None = None,
    example: dict[str, Any] | None = None,
    *,
    streamed: bool = False,
) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if body:
        schema = {"$ref": f"#/components/schemas/Ollama{body.__name__}"}
        content = {"application/json": {"schema": schema, "example": example}}
        extra["requestBody"] = {"required": True, "content": content}
    return {
        "summary": summary,
        "description": description,
        "response_description": "The answer.",
        "response_model": answer,
        "responses": {**({200: {"content": _LINES}} if streamed else {}), **_ERRORS},
        "openapi_extra": extra,
        "tags": ["ollama"],
    }


_STREAMED = "Comes as lines of JSON unless `stream` is false."
VERSION = _operation("Tell the version of the API", "That of Ollama's.", OllamaVersion)
TAGS = _operation("List the models", "As `name:latest` or `name:version`.", OllamaModels)
PS = _operation("List the models in memory", "On all nodes.", OllamaModels)
SHOW = _operation("Read what a model is", "Its facts.", OllamaShown, ShowBody, {"model": "smollm2"})
GENERATE = _operation(
    "Answer a prompt",
    f"{_STREAMED} Without a prompt the model is loaded; with `keep_alive` 0, unloaded.",
    OllamaGenerated,
    GenerateBody,
    {"model": "smollm2", "prompt": "Why is the sky blue?", "stream": False},
    streamed=True,
)
CHAT = _operation(
    "Continue a conversation",
    _STREAMED,
    OllamaSaid,
    ChatBody,
    {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": False,
    },
    streamed=True,
)
EMBED = _operation(
    "Embed texts",
    "For models of task txt2embed.",
    OllamaVectors,
    EmbedBody,
    {"model": "all-minilm-l6-v2", "input": ["Hello, Kafka"]},
)
EMBEDDINGS = _operation(
    "Embed one text",
    "As it was before `/api/embed`.",
    OllamaVector,
    OldEmbedBody,
    {"model": "all-minilm-l6-v2", "prompt": "Hello, Kafka"},
)
