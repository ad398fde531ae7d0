"""What `/v1/files` and `/v1/batches` take and answer, described for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from modelmora.gateway.doors.openai.described import ErrorAnswer
from modelmora.gateway.doors.openai.routes import ANSWERING

Word = Annotated[StrictStr, Field(max_length=512)]


class BatchBody(BaseModel):
    """What `POST /v1/batches` reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_file_id: StrictStr
    endpoint: Literal[tuple(sorted(ANSWERING))]  # type: ignore[valid-type]
    completion_window: Literal["24h"] = "24h"
    metadata: Annotated[dict[Word, Word], Field(max_length=16)] | None = None


class FileAnswer(BaseModel):
    """A file."""

    id: str
    object: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str
    status_details: None


class DeletedAnswer(BaseModel):
    """A file that is there no more."""

    id: str
    object: str
    deleted: bool


class FileList(BaseModel):
    """Files, the newest first."""

    object: str
    data: list[FileAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchFaults(BaseModel):
    """Why the input is no batch."""

    object: str
    data: list[dict[str, Any]]


class Counts(BaseModel):
    """Requests."""

    total: int
    completed: int
    failed: int


class BatchAnswer(BaseModel):
    """A batch and how far it has come."""

    id: str
    object: str
    endpoint: str
    errors: BatchFaults | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: Counts
    metadata: dict[str, str] | None


class BatchList(BaseModel):
    """Batches, the newest first."""

    object: str
    data: list[BatchAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"description": "It failed; `error.code` is stable.", "model": ErrorAnswer}
}
_JSONL = {"application/jsonl": {"schema": {"type": "string"}}}
_EXAMPLE = {"input_file_id": "FILE_ID", "endpoint": "/v1/embeddings"}


def _operation(summary: str, description: str, answer: Any, **extra: Any) -> dict[str, Any]:
    return {
        "summary": summary,
        "description": description,
        "response_description": "The answer.",
        "response_model": answer,
        "responses": _ERRORS,
        "openapi_extra": extra,
        "tags": ["openai"],
    }


def _parameter(name: str, where: str, description: str, kind: str = "string") -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": {"type": kind},
    }


def _body(media: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"required": True, "content": {media: {"schema": schema, **more}}}


_PAGE = [
    _parameter("after", "query", "The id behind which the page begins."),
    _parameter("limit", "query", "How many it has at most.", "integer"),
    _parameter("order", "query", "`desc`, the newest first, or `asc`."),
]
_FILE = [_parameter("file_id", "path", "Its id.")]
_BATCH = [_parameter("batch_id", "path", "Its id.")]
_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer"},
    },
}
UPLOAD = _operation(
    "Upload a file of requests",
    "JSON Lines, 200 MB at most, kept for 7 days or less. Each line has `custom_id`, `method` "
    "(POST), `url` (the endpoint of the batch) and `body`.",
    FileAnswer,
    requestBody=_body(
        "multipart/form-data", _FORM, example={"purpose": "batch", "file": "@in.jsonl"}
    ),
)
FILES = _operation(
    "List your files",
    "Those you have uploaded, and those that batches have made.",
    FileList,
    parameters=[*_PAGE, _parameter("purpose", "query", "`batch` or `batch_output`.")],
)
FILE = _operation(
    "Read what a file is", "Its name, size and purpose.", FileAnswer, parameters=_FILE
)
CONTENT = {
    **_operation("Read a file", "Its bytes.", None, parameters=_FILE),
    "responses": {200: {"content": _JSONL, "description": "The bytes."}, **_ERRORS},
}
DELETE = _operation(
    "Delete a file",
    "A batch that is at work on it goes on.",
    DeletedAnswer,
    parameters=_FILE,
)
CREATE = _operation(
    "Have a file of requests answered",
    "They run on the low lane, whichever gateway is there, for 24 hours at most. What a line is "
    "answered is in the output file, what is refused in the error file.",
    BatchAnswer,
    requestBody=_body(
        "application/json", {"$ref": "#/components/schemas/BatchBody"}, example=_EXAMPLE
    ),
)
BATCHES = _operation("List your batches", "For 7 days.", BatchList, parameters=_PAGE)
BATCH = _operation("Tell how a batch stands", "Any gateway can.", BatchAnswer, parameters=_BATCH)
CANCEL = _operation(
    "Cancel a batch",
    "What has been answered by then is in its files.",
    BatchAnswer,
    parameters=_BATCH,
)
