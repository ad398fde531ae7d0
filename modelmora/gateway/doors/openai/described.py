"""What the paths under `/v1` take and answer, described for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from modelmora.gateway.doors.openai.bodies import (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    ImageBody,
    RerankBody,
)
from modelmora.gateway.doors.openai.moderating import ModerationBody
from modelmora.gateway.doors.rest.forms import STREAMED


class Fault(BaseModel):
    """Why a request failed."""

    message: str
    type: str
    param: str | None
    code: str = Field(description="Stable; the same as of all other paths")


class ErrorAnswer(BaseModel):
    """An error in the envelope of OpenAI."""

    error: Fault


class Usage(BaseModel):
    """Tokens, as far as the model tells."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | None = None


class ListedModel(BaseModel):
    """A model by its name."""

    id: str
    object: str
    created: int
    owned_by: str
    task: str


class ModelList(BaseModel):
    """All models."""

    object: str
    data: list[ListedModel]


class SampledAnswer(BaseModel):
    """One choice for each of `n`, of each prompt."""

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: Usage


class EmbeddingAnswer(BaseModel):
    """A vector for each text."""

    object: str
    data: list[dict[str, Any]]
    model: str
    usage: Usage


class RerankAnswer(BaseModel):
    """The best documents first."""

    id: str
    model: str
    results: list[dict[str, Any]]
    usage: Usage


class ModerationAnswer(BaseModel):
    """A verdict for each input: `flagged`, `categories`, `category_scores`."""

    id: str
    model: str
    results: list[dict[str, Any]]


class ImageAnswer(BaseModel):
    """The images."""

    created: int
    data: list[dict[str, Any]]
    output_format: str


PREFIX = "/v1"
"""All paths of this door lie under it."""
ENVELOPE = {
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
}
BODIES = (ChatBody, CompletionBody, EmbeddingBody, ImageBody, ModerationBody, RerankBody)
_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"description": "It failed; `error.code` is stable.", "model": ErrorAnswer}
}
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": STREAMED}}


def _operation(
    summary: str,
    description: str,
    body: type[BaseModel],
    answer: type[BaseModel],
    example: dict[str, Any],
) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{body.__name__}"}
    taken = {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }
    return {
        "summary": summary,
        "description": description,
        "response_description": "The answer.",
        "response_model": answer,
        "responses": _ERRORS | (_EVENTS if answer is SampledAnswer else {}),
        "openapi_extra": {"requestBody": taken},
        "tags": ["openai"],
    }


_STREAMED = "With `stream` it comes as server-sent events, the last of which is `[DONE]`."
OPERATIONS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": _operation(
        "Continue a conversation",
        f"For models of task txt2txt with a chat template; `tools` where that shows them. "
        f"{_STREAMED}",
        ChatBody,
        SampledAnswer,
        {"model": "smollm2", "messages": [{"role": "user", "content": "Hello"}]},
    ),
    "/v1/completions": _operation(
        "Continue a text",
        f"For models of task txt2txt; the prompt is continued as it stands. {_STREAMED}",
        CompletionBody,
        SampledAnswer,
        {"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 32},
    ),
    "/v1/embeddings": _operation(
        "Embed texts",
        "For models of task txt2embed.",
        EmbeddingBody,
        EmbeddingAnswer,
        {"model": "all-minilm-l6-v2", "input": ["Hello, Kafka"]},
    ),
    "/v1/images/generations": _operation(
        "Draw images",
        "For models of task txt2img; the answer holds them as PNG in base64.",
        ImageBody,
        ImageAnswer,
        {"model": "my-diffusion", "prompt": "a lighthouse", "size": "512x512"},
    ),
    "/v1/moderations": _operation(
        "Judge texts by the labels of a classifier",
        "For models of task classify; a label flags from `threshold` on (0.5, or as the model's "
        "metadata say), unless it names what is harmless.",
        ModerationBody,
        ModerationAnswer,
        {"model": "my-toxicity", "input": "You are kind"},
    ),
    "/v1/rerank": _operation(
        "Rank documents by a query",
        "For models of task rerank; as Jina and Cohere have it, for OpenAI has no such path.",
        RerankBody,
        RerankAnswer,
        {"model": "my-reranker", "query": "Who?", "documents": ["You", "The weather"]},
    ),
}
LIST: dict[str, Any] = {
    "summary": "List the models by name",
    "description": "Each name once; `name@version` may be asked for too.",
    "response_description": "The models.",
    "response_model": ModelList,
    "tags": ["openai"],
}
MODEL: dict[str, Any] = {
    "summary": "Read one of the models",
    "description": "As it stands in the list.",
    "response_description": "The model.",
    "response_model": ListedModel,
    "responses": _ERRORS,
    "openapi_extra": {
        "parameters": [
            {
                "name": "model_name",
                "in": "path",
                "required": True,
                "description": "Its name.",
                "schema": {"type": "string"},
            }
        ]
    },
    "tags": ["openai"],
}
