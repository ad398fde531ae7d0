"""The service of protos/modelmora/rpc/v1/inference.proto: gRPC to the hall and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from modelmora.errors import Code
from modelmora.gateway.hall import LANES, Ask, Hall, check_request_id
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import (
    ChatMessage,
    Content,
    InferenceResult,
    Lane,
    ObjectRef,
    Parameter,
    SignedRef,
    Tensor,
)
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.web.tracing import traceparent_of
from modelmora.wire.forms import MAX_TIMEOUT_MS
from modelmora.wire.tensors import BadTensor, check_tensor

SERVICE = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name
Abort = Callable[[Any, Refusal], Awaitable[NoReturn]]


class InferenceService:
    """Running requests; `abort` ends a call with a refusal."""

    def __init__(self, hall: Hall, metrics: Metrics, abort: Abort) -> None:
        self._hall = hall
        self._metrics = metrics
        self._abort = abort

    def handlers(self) -> Any:
        """The methods as gRPC takes them."""
        # The message is decoded here: gRPC tells a caller of one that is none nothing of use.
        infer = grpc.unary_unary_rpc_method_handler(
            self._infer, response_serializer=pb.InferResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Infer": infer})

    async def _infer(self, message: bytes, context: Any) -> Any:
        """Run one request and wait for its outcome; a cancelled call cancels the request."""
        held = 0
        try:
            self._hall.hold(len(message))
            held = len(message)
            metadata = dict(context.invocation_metadata())
            ask = read_ask(_decode(message), metadata, context.time_remaining())
        except Refusal as refusal:
            self._hall.release(held)
            self._metrics.refused("grpc", refusal.code)
            await self._abort(context, refusal)
        try:
            return write_response(await self._hall.infer(ask))
        except Refusal as refusal:
            await self._abort(context, refusal)
        finally:
            self._hall.release(held)


def _decode(message: bytes) -> Any:
    try:
        return pb.InferRequest.FromString(message)
    except DecodeError:
        raise Refusal(Code.INVALID_INPUT, "the message is no InferRequest") from None


def read_ask(request: Any, metadata: dict[str, Any], remaining_s: float | None) -> Ask:
    """The request in a message; raises Refusal that names the field, never its content."""
    request_id = check_request_id(request.request_id)
    if request.priority and request.priority not in LANES:
        raise Refusal(Code.INVALID_INPUT, f"priority is one of {', '.join(LANES)}")
    if not request.inputs:
        raise Refusal(Code.INVALID_INPUT, "inputs: one at least is needed")
    return Ask(
        "grpc",
        request.model,
        tuple(_content(part, at) for at, part in enumerate(request.inputs)),
        parameters={name: _parameter(value) for name, value in request.parameters.items()},
        lane=LANES[request.priority] if request.priority else Lane.NORMAL,
        timeout_ms=_timeout_ms(request, remaining_s),
        request_id=request_id,
        traceparent=traceparent_of(metadata.get("traceparent")),
    )


def _timeout_ms(request: Any, remaining_s: float | None) -> int | None:
    """The shorter of the field and the call's deadline."""
    bounds = []
    if request.HasField("timeout_ms"):
        if not 1 <= request.timeout_ms <= MAX_TIMEOUT_MS:
            raise Refusal(Code.INVALID_INPUT, f"timeout_ms is between 1 and {MAX_TIMEOUT_MS}")
        bounds.append(int(request.timeout_ms))
    if remaining_s is not None and remaining_s * 1000 < MAX_TIMEOUT_MS:
        bounds.append(max(1, int(remaining_s * 1000)))
    return min(bounds, default=None)


def _content(part: Any, at: int) -> Content:
    match part.WhichOneof("kind"):
        case "text":
            return str(part.text)
        case "data":
            return bytes(part.data)
        case "tensor":
            tensor = part.tensor
            try:
                return check_tensor(
                    Tensor(tensor.name, tensor.dtype, tuple(tensor.shape), tensor.data)
                )
            except BadTensor as error:
                raise Refusal(Code.INVALID_INPUT, f"inputs.{at}: {error}") from None
        case "object":
            ref = part.object
            return ObjectRef(ref.uri, ref.sha256, ref.size, ref.media_type, ref.expires_at)
        case "message":
            return ChatMessage(part.message.role, part.message.content)
    raise Refusal(Code.INVALID_INPUT, f"inputs.{at}: no kind of content is set")


def _parameter(value: Any) -> Parameter:
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "list_value":
        return tuple(value.list_value.values)
    parameter: Parameter = getattr(value, kind)
    return parameter


def write_response(result: InferenceResult) -> Any:
    """The answer of a completed request."""
    timings = result.timings
    return pb.InferResponse(
        request_id=result.request_id,
        model=result.model,
        version=result.version,
        outputs=[_part(content) for content in result.outputs],
        timings=pb.Timings(
            queue_ms=timings.queue_ms,
            load_ms=timings.load_ms,
            inference_ms=timings.inference_ms,
            total_ms=timings.total_ms,
        ),
    )


def _part(content: Content) -> Any:
    match content:
        case str():
            return pb.Content(text=content)
        case bytes():
            return pb.Content(data=content)
        case Tensor(name, dtype, shape, data):
            return pb.Content(tensor=pb.Tensor(name=name, dtype=dtype, shape=shape, data=data))
        case ObjectRef(uri, sha256, size, media_type, expires_at):
            url = content.url if isinstance(content, SignedRef) else ""
            return pb.Content(
                object=pb.ObjectRef(
                    uri=uri,
                    sha256=sha256,
                    size=size,
                    media_type=media_type,
                    expires_at=expires_at,
                    url=url,
                )
            )
        case ChatMessage(role, text):
            return pb.Content(message=pb.ChatMessage(role=role, content=text))
