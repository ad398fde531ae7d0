"""The bodies of REST: what is read from JSON, what is written to it, and its description."""

from __future__ import annotations

import base64
import math
from typing import Annotated, Any, Literal

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
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from modelmora.errors import Code
from modelmora.gateway.hall import LANES, MAX_TIMEOUT_MS, MOST_WAIT_S, Ask, Wish
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rest.strict import fault, parse
from modelmora.messages import (
    ChatMessage,
    Content,
    ControlVerb,
    InferenceResult,
    ObjectRef,
    Parameter,
    Tensor,
)
from modelmora.wire.tensors import DTYPES, BadTensor, from_nested, to_nested

LaneName = Literal["critical", "high", "normal", "low"]
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


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JsonBytes(_Part):
    """Bytes in base64."""

    data: Base64 = Field(alias="bytes")

    def content(self) -> bytes:
        """The message's own form."""
        return self.data


class JsonTensor(_Part):
    """A tensor as nested lists; BYTES elements are strings or `{"bytes": base64}`."""

    name: StrictStr
    dtype: Annotated[StrictStr, WithJsonSchema({"type": "string", "enum": list(DTYPES)})]
    shape: list[Annotated[Long, Field(ge=0)]]
    data: list[Any]

    def content(self) -> Tensor:
        """The message's own form; raises BadTensor."""
        return from_nested(self.name, self.dtype, self.shape, self.data)


class JsonObjectRef(_Part):
    """Content in an object store."""

    uri: StrictStr
    sha256: StrictStr
    size: Long
    media_type: StrictStr
    expires_at: Long

    def content(self) -> ObjectRef:
        """The message's own form."""
        return ObjectRef(self.uri, self.sha256, self.size, self.media_type, self.expires_at)


class JsonChatMessage(_Part):
    """One turn of a conversation."""

    role: StrictStr
    text: StrictStr = Field(alias="content")

    def content(self) -> ChatMessage:
        """The message's own form."""
        return ChatMessage(self.role, self.text)


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


class InferBody(_Part):
    """What `POST /infer/{model_name}` reads."""

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
    priority: LaneName = Field(
        "normal", description="The lane: `critical`, `high`, `normal` or `low`."
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


class OrderBody(_Part):
    """What an order reads; `{}` is enough."""

    wait_s: StrictInt | StrictFloat = Field(
        0, ge=0, le=MOST_WAIT_S, description="For the end of it; 0: until the command is written."
    )
    everywhere: StrictBool = Field(
        False, description="To load: on every node that serves the model, not on one."
    )


_ORDER: TypeAdapter[OrderBody] = TypeAdapter(OrderBody)
_BODY: TypeAdapter[InferBody] = TypeAdapter(InferBody)
FIELDS = tuple(InferBody.model_fields)


def read_ask(
    model: str, raw: bytes | bytearray, *, request_id: str | None, traceparent: str
) -> Ask:
    """The request in a body; raises Refusal that names the field, never its content."""
    try:
        body = _BODY.validate_python(parse(raw))
        inputs = tuple(item if isinstance(item, str) else item.content() for item in body.inputs)
    except ValidationError as error:
        raise Refusal(Code.INVALID_INPUT, fault(error, FIELDS)) from None
    except BadTensor as error:
        raise Refusal(Code.INVALID_INPUT, f"inputs: {error}") from None
    return Ask(
        "rest",
        model,
        inputs,
        parameters={name: _parameter(value) for name, value in body.parameters.items()},
        lane=LANES[body.priority],
        timeout_ms=body.timeout_ms,
        progress=body.progress,
        request_id=request_id,
        traceparent=traceparent,
    )


def read_wish(verb: ControlVerb, model: str, raw: bytes | bytearray) -> Wish:
    """The order in a body; raises Refusal that names the field."""
    try:
        body = _ORDER.validate_python(parse(raw))
    except ValidationError as error:
        raise Refusal(Code.INVALID_INPUT, fault(error, OrderBody.model_fields)) from None
    return Wish(verb, model, float(body.wait_s), body.everywhere)


def _parameter(value: Any) -> Parameter:
    parameter: Parameter = tuple(value) if isinstance(value, list) else value
    return parameter


def write_result(result: InferenceResult) -> dict[str, Any]:
    """The answer of `POST /infer/{model_name}`; raises BadTensor for outputs that are broken."""
    timings = result.timings
    return {
        "request_id": result.request_id,
        "model": result.model,
        "version": result.version,
        "outputs": [_json(content) for content in result.outputs],
        "settings": dict(result.settings),
        "timings": {
            "queue_ms": timings.queue_ms,
            "load_ms": timings.load_ms,
            "inference_ms": timings.inference_ms,
            "total_ms": timings.total_ms,
        },
    }


def _json(content: Content) -> Any:
    match content:
        case str():
            return content
        case bytes():
            return {"bytes": base64.b64encode(content).decode()}
        case Tensor():
            return {
                "name": content.name,
                "dtype": content.dtype,
                "shape": content.shape,
                "data": to_nested(content),
            }
        case ObjectRef():
            return {
                "uri": content.uri,
                "sha256": content.sha256,
                "size": content.size,
                "media_type": content.media_type,
                "expires_at": content.expires_at,
            }
        case ChatMessage():
            return {"role": content.role, "content": content.content}
