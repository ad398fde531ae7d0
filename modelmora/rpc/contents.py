"""Contents, parameters and progress, to messages of inference.proto and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelmora.messages import (
    ChatMessage,
    Content,
    ObjectRef,
    Parameter,
    ProgressEvent,
    ProgressStage,
    SignedRef,
    Tensor,
    ToolCall,
)
from modelmora.rpc.v1 import inference_pb2 as pb

_INT64 = range(-(1 << 63), 1 << 63)


def part_of(content: Content) -> Any:
    """A content whole. Raises TypeError for what is none."""
    match content:
        case str():
            return pb.Content(text=content)
        case bytes():
            return pb.Content(data=content)
        case Tensor(name, dtype, shape, data):
            return pb.Content(tensor=pb.Tensor(name=name, dtype=dtype, shape=shape, data=data))
        case ObjectRef():
            return pb.Content(object=ref_message(content))
        case ChatMessage():
            return pb.Content(message=_turn_message(content))
    raise TypeError(type(content).__name__)


def ref_message(ref: ObjectRef) -> Any:
    """A reference, with its URL where it is told."""
    return pb.ObjectRef(
        uri=ref.uri,
        sha256=ref.sha256,
        size=ref.size,
        media_type=ref.media_type,
        expires_at=ref.expires_at,
        url=ref.url if isinstance(ref, SignedRef) else "",
    )


def content_of(part: Any) -> Content | None:
    """The content, as it was sent; None where no kind is set. Tensors are not checked."""
    match part.WhichOneof("kind"):
        case "text":
            return str(part.text)
        case "data":
            return bytes(part.data)
        case "tensor":
            tensor = part.tensor
            return Tensor(tensor.name, tensor.dtype, tuple(tensor.shape), tensor.data)
        case "object":
            return ref_of(part.object)
        case "message":
            return _turn_of(part.message)
    return None


def ref_of(ref: Any) -> ObjectRef:
    """The reference, with its URL where one is told."""
    told = (ref.uri, ref.sha256, ref.size, ref.media_type, ref.expires_at)
    return SignedRef(*told, ref.url) if ref.url else ObjectRef(*told)


def _turn_message(turn: ChatMessage) -> Any:
    calls = [
        pb.ToolCall(id=call.id, name=call.name, arguments=call.arguments)
        for call in turn.tool_calls or ()
    ]
    return pb.ChatMessage(
        role=turn.role,
        content=turn.content,
        name=turn.name,
        tool_calls=calls,
        tool_call_id=turn.tool_call_id,
    )


def _turn_of(message: Any) -> ChatMessage:
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls)
    return ChatMessage(
        message.role,
        message.content,
        message.name if message.HasField("name") else None,
        calls or None,
        message.tool_call_id if message.HasField("tool_call_id") else None,
    )


def parameter_messages(parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Each of them. Raises ValueError with the name of one that has no form."""
    return {name: _parameter(name, value) for name, value in parameters.items()}


def _parameter(name: str, value: Parameter) -> Any:
    match value:
        case None:
            return pb.Parameter()
        case bool():
            return pb.Parameter(bool_value=value)
        case int() if value in _INT64:
            return pb.Parameter(int_value=value)
        case float():
            return pb.Parameter(double_value=value)
        case str():
            return pb.Parameter(string_value=value)
        case list() | tuple() if all(isinstance(each, str) for each in value):
            return pb.Parameter(list_value=pb.StringList(values=value))
    raise ValueError(name)


def parameters_of(messages: Mapping[str, Any]) -> dict[str, Parameter]:
    """Each of them; what has no kind is None."""
    return {name: _value(message) for name, message in messages.items()}


def _value(message: Any) -> Parameter:
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "list_value":
        return tuple(message.list_value.values)
    value: Parameter = getattr(message, kind)
    return value


def progress_message(event: ProgressEvent) -> Any:
    """How far a request has come."""
    return pb.Progress(
        stage=event.stage,
        model=event.model,
        position=event.position,
        estimate_ms=event.estimate_ms,
        attempt=event.attempt,
        step=event.step,
        steps=event.steps,
        text=None if event.chunk is None else event.chunk.decode("utf-8", "replace"),
        sequence=event.sequence,
        loading=event.loading,
    )


def progress_of(message: Any, request_id: str) -> ProgressEvent:
    """The same, as it was told. Raises ValueError for a stage that is not known."""

    def told(field: str) -> Any:
        return getattr(message, field) if message.HasField(field) else None

    text = told("text")
    return ProgressEvent(
        request_id,
        ProgressStage(message.stage),
        message.model,
        position=told("position"),
        estimate_ms=told("estimate_ms"),
        step=told("step"),
        steps=told("steps"),
        chunk=None if text is None else text.encode(),
        attempt=message.attempt,
        sequence=message.sequence,
        loading=message.loading,
    )
