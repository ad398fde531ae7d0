"""The JSON form of requests and outcomes: the same fields, refusals and words at every door."""

from __future__ import annotations

import base64
import math
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    WithJsonSchema,
)

from modelmora.errors import Code, RequestError
from modelmora.messages import (
    ChatMessage,
    Content,
    InferenceResult,
    ObjectRef,
    Parameter,
    SignedRef,
    Tensor,
    Timings,
    ToolCall,
)
from modelmora.wire.tensors import DTYPES, BadTensor, check_tensor, from_nested, to_nested

MAX_TIMEOUT_MS = 24 * 3600 * 1000  # the requests topics keep a record no longer
_LONG = 1 << 63


def _decode_base64(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("a string in base64 is needed")  # noqa: TRY004  (pydantic wants it)
    return base64.b64decode(value, validate=True)


def _fitting(value: Any) -> Any:
    if isinstance(value, int) and not -_LONG <= value < _LONG:
        raise ValueError("an integer has at most 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


Base64 = Annotated[
    bytes,
    BeforeValidator(_decode_base64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
Long = Annotated[StrictInt, Field(ge=-_LONG, lt=_LONG)]
JsonParameter = Annotated[
    StrictBool | StrictInt | StrictFloat | StrictStr | list[StrictStr] | None,
    BeforeValidator(_fitting),
]


class Part(BaseModel):
    """An object of JSON; a member that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class JsonBytes(Part):
    """Bytes in base64."""

    data: Base64 = Field(alias="bytes")

    def content(self) -> bytes:
        """The message's own form."""
        return self.data


class JsonTensor(Part):
    """A tensor as nested lists, BYTES elements strings or `{"bytes": base64}`; or its bytes."""

    name: StrictStr
    dtype: Annotated[StrictStr, WithJsonSchema({"type": "string", "enum": list(DTYPES)})]
    shape: list[Annotated[Long, Field(ge=0)]]
    data: list[Any] | JsonBytes

    def content(self) -> Tensor:
        """The message's own form; raises BadTensor."""
        if isinstance(self.data, JsonBytes):
            return check_tensor(Tensor(self.name, self.dtype, tuple(self.shape), self.data.data))
        return from_nested(self.name, self.dtype, self.shape, self.data)


class JsonObjectRef(Part):
    """Content in an object store; `url`, by which an answer says where to get it, may come back."""

    uri: StrictStr
    sha256: StrictStr
    size: Long
    media_type: StrictStr
    expires_at: Long
    url: StrictStr | None = None

    def content(self) -> ObjectRef:
        """The message's own form."""
        return ObjectRef(self.uri, self.sha256, self.size, self.media_type, self.expires_at)


class JsonToolCall(Part):
    """What the assistant wants done; `arguments` is a JSON object as text."""

    id: StrictStr
    name: StrictStr
    arguments: StrictStr

    def call(self) -> ToolCall:
        """The message's own form."""
        return ToolCall(self.id, self.name, self.arguments)


class JsonChatMessage(Part):
    """One turn of a conversation."""

    role: StrictStr
    text: StrictStr = Field(alias="content")
    name: StrictStr | None = None
    tool_calls: list[JsonToolCall] | None = None
    tool_call_id: StrictStr | None = None

    def content(self) -> ChatMessage:
        """The message's own form."""
        calls = self.tool_calls and tuple(each.call() for each in self.tool_calls)
        return ChatMessage(self.role, self.text, self.name, calls or None, self.tool_call_id)


_MARKS = (("bytes", "bytes"), ("dtype", "tensor"), ("uri", "object"), ("role", "message"))


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict):
        return next((kind for mark, kind in _MARKS if mark in value), None)
    return None


JsonContent = Annotated[
    Annotated[StrictStr, Tag("text")]
    | Annotated[JsonBytes, Tag("bytes")]
    | Annotated[JsonTensor, Tag("tensor")]
    | Annotated[JsonObjectRef, Tag("object")]
    | Annotated[JsonChatMessage, Tag("message")],
    Discriminator(
        _kind,
        custom_error_type="content",
        custom_error_message=(
            'an input is a string, {"bytes"}, a tensor {"name", "dtype", "shape", "data"}, '
            'an object reference {"uri", ...} or a chat message {"role", "content"}'
        ),
    ),
]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class RequestForm(Part):
    """What a request says, wherever it comes from."""

    inputs: Annotated[
        list[JsonContent],
        Field(
            min_length=1,
            description='One input or more: texts, `{"bytes": base64}`, tensors, object references '
            "or chat messages. One text may stand alone.",
        ),
        BeforeValidator(_listed, json_schema_input_type=StrictStr | list[JsonContent]),
    ]
    parameters: dict[StrictStr, JsonParameter] = Field(
        default={}, description="Settings of the model, such as `truncate`; its task has them."
    )
    timeout_ms: StrictInt | None = Field(
        None,
        ge=1,
        le=MAX_TIMEOUT_MS,
        description="How long it may take, from its first append to the broker.",
    )
    progress: StrictBool = Field(
        False, description="Whether its progress, with parts of its output, is told on `progress`."
    )

    def contents(self) -> tuple[Content, ...]:
        """The inputs as messages have them. Raises RequestError."""
        try:
            return tuple(each if isinstance(each, str) else each.content() for each in self.inputs)
        except BadTensor as error:
            raise RequestError(Code.INVALID_INPUT, f"inputs: {error}") from None

    def settings(self) -> dict[str, Parameter]:
        """The parameters as messages have them."""
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.parameters.items()
        }


def result_form(result: InferenceResult, *, packed: bool = False) -> dict[str, Any]:
    """A completed outcome; see `content_form`. Raises BadTensor for outputs that are broken."""
    return {
        "request_id": result.request_id,
        "model": result.model,
        "version": result.version,
        "outputs": [content_form(content, packed=packed) for content in result.outputs],
        "settings": dict(result.settings),
        "timings": timings_form(result.timings),
    }


def timings_form(timings: Timings) -> dict[str, float]:
    """Milliseconds."""
    return {
        "queue_ms": timings.queue_ms,
        "load_ms": timings.load_ms,
        "inference_ms": timings.inference_ms,
        "total_ms": timings.total_ms,
    }


def content_form(content: Content, *, packed: bool = False) -> Any:
    """A content as JSON has it; `packed`: the data of a tensor as bytes. Raises BadTensor."""
    match content:
        case str():
            return content
        case bytes():
            return _bytes_form(content)
        case Tensor():
            return {
                "name": content.name,
                "dtype": content.dtype,
                "shape": content.shape,
                "data": _bytes_form(check_tensor(content).data) if packed else to_nested(content),
            }
        case ObjectRef():
            told = {
                "uri": content.uri,
                "sha256": content.sha256,
                "size": content.size,
                "media_type": content.media_type,
                "expires_at": content.expires_at,
            }
            return told | {"url": content.url} if isinstance(content, SignedRef) else told
        case ChatMessage():
            told = asdict(content)
            return {name: value for name, value in told.items() if value is not None}


def _bytes_form(content: bytes) -> dict[str, str]:
    return {"bytes": base64.b64encode(content).decode()}
