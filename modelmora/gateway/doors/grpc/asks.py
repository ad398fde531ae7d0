"""Messages of inference.proto to what the hall is asked."""

from __future__ import annotations

from typing import Any

from modelmora.errors import Code
from modelmora.gateway.hall import LANES, Ask
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Content, Lane, ObjectRef, Parameter, Tensor
from modelmora.rpc.turns import turn_of
from modelmora.wire.forms import MAX_TIMEOUT_MS
from modelmora.wire.tensors import BadTensor, check_tensor


def read_ask(request: Any, traceparent: str, remaining_s: float | None) -> Ask:
    """The request in a message, whose id is checked; raises Refusal, never with its content."""
    if request.priority and request.priority not in LANES:
        lanes = ", ".join(LANES)
        raise Refusal(Code.INVALID_INPUT, f"priority is one of {lanes}", field="priority")
    if not request.inputs:
        raise Refusal(Code.INVALID_INPUT, "inputs: one at least is needed", field="inputs")
    return Ask(
        "grpc",
        request.model,
        tuple(_content(part, at) for at, part in enumerate(request.inputs)),
        parameters={name: _parameter(value) for name, value in request.parameters.items()},
        lane=LANES[request.priority] if request.priority else Lane.NORMAL,
        timeout_ms=_timeout_ms(request, remaining_s),
        progress=request.progress,
        request_id=request.request_id or None,
        traceparent=traceparent,
    )


def _timeout_ms(request: Any, remaining_s: float | None) -> int | None:
    """The shorter of the field and the call's deadline."""
    bounds = []
    if request.HasField("timeout_ms"):
        if not 1 <= request.timeout_ms <= MAX_TIMEOUT_MS:
            message = f"timeout_ms is between 1 and {MAX_TIMEOUT_MS}"
            raise Refusal(Code.INVALID_INPUT, message, field="timeout_ms")
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
                raise _unusable(at, str(error)) from None
        case "object":
            ref = part.object
            return ObjectRef(ref.uri, ref.sha256, ref.size, ref.media_type, ref.expires_at)
        case "message":
            return turn_of(part.message)
    raise _unusable(at, "no kind of content is set")


def _unusable(at: int, why: str) -> Refusal:
    field = f"inputs.{at}"
    return Refusal(Code.INVALID_INPUT, f"{field}: {why}", field=field)


def _parameter(value: Any) -> Parameter:
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "list_value":
        return tuple(value.list_value.values)
    parameter: Parameter = getattr(value, kind)
    return parameter
