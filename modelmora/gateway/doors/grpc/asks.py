"""Messages of inference.proto to what the hall is asked."""

from __future__ import annotations

from typing import Any

from modelmora.errors import Code
from modelmora.gateway.hall import LANES, Ask
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import Content, Lane, Tensor
from modelmora.rpc.contents import content_of, parameters_of
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
        parameters=parameters_of(request.parameters),
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
    if part.HasField("object"):
        part.object.url = ""  # of answers only
    content = content_of(part)
    if content is None:
        raise _unusable(at, "no kind of content is set")
    if isinstance(content, Tensor):
        try:
            return check_tensor(content)
        except BadTensor as error:
            raise _unusable(at, str(error)) from None
    return content


def _unusable(at: int, why: str) -> Refusal:
    field = f"inputs.{at}"
    return Refusal(Code.INVALID_INPUT, f"{field}: {why}", field=field)
