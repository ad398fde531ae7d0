"""The forms in which `POST /infer/{model}` answers, by what the caller accepts."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response

from modelmora.gateway.doors.rest import problems
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.watching import Told, failed
from modelmora.messages import InferenceResult, ProgressEvent, Tensor
from modelmora.messages.headers import DTYPE, SHAPE
from modelmora.messages.pieces import Followed
from modelmora.web.events import EVENTS, QUIET, event
from modelmora.web.problems import DoorCode
from modelmora.wire.forms import result_form
from modelmora.wire.tensors import BadTensor, check_tensor

JSON = "application/json"
PACKED = JSON + "; tensors=base64"
log = structlog.get_logger(__name__)
_NPY = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_NPY_ALIGNED = 64


def form_of(accept: str) -> str:
    """The form there is that the caller likes best (RFC 9110, 12.5.1); JSON where it names none.

    Anything stands for JSON, which comes first of equals.
    """
    liked: dict[str, float] = {}
    for each in accept.lower().split(","):
        media, *parameters = (part.strip() for part in each.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        if f"{media}; {' '.join(parameters[:1])}" == PACKED:
            media = PACKED
        try:
            liked[media] = float(quality)
        except ValueError:
            liked[media] = 1.0
    for every in ("application/*", "*/*"):
        if every in liked:
            liked.setdefault(JSON, liked[every])
    ours = (PACKED, JSON, EVENTS, *_FORMS)
    forms = [media for media in ours if liked.get(media, 0.0) > 0]
    return max(forms, key=lambda media: liked[media], default=JSON)


def answer(result: InferenceResult, form: str) -> Response:
    """The answer in that form, which is none of events. Raises Refusal."""
    headers = {"x-request-id": result.request_id, "vary": "accept"}
    try:
        if form == JSON:
            return Response(orjson.dumps(result_form(result)), headers=headers, media_type=JSON)
        body, more = _FORMS[form](result)
    except BadTensor as error:
        raise Refusal(
            DoorCode.INTERNAL, f"the model's outputs: {error}", request_id=result.request_id
        ) from None
    return Response(body, headers={**headers, **more}, media_type=form)


def npy(tensor: Tensor) -> bytes:
    """The tensor, of a type that numpy has, as its file (format 1.0). Raises BadTensor."""
    kind = _NPY[check_tensor(tensor).dtype]
    shape = "".join(f"{size}, " for size in tensor.shape)
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}".encode()
    fixed = 10  # magic, version and the length of what follows
    head += b" " * (-(fixed + len(head) + 1) % _NPY_ALIGNED) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + tensor.data


async def events(
    request: Request, first: Told | None, coming: AsyncGenerator[Told | None]
) -> AsyncGenerator[bytes]:
    """Server-sent events: `progress` as it comes, then `result`, or `problem`.

    What of a text was not told by then is told right before its result, so that the chunks of one
    are always the whole.
    """
    told, text = first, Followed()
    async with aclosing(coming):
        try:
            while True:
                for each in (QUIET,) if told is None else _events_of(told, text):
                    yield each
                told = await anext(coming)
        except StopAsyncIteration:
            return
        except Refusal as refusal:
            yield problem_event(request, refusal)
        except Exception:
            yield problem_event(request, failed())
            log.exception("a stream failed")


def _events_of(told: Told, text: Followed) -> Iterator[bytes]:
    if isinstance(told.what, ProgressEvent):
        text.take(told.what)
        yield event(orjson.dumps(progress_form(told.what)), "progress")
        return
    result = told.what
    if rest := text.rest_of(result):
        yield event(orjson.dumps(progress_form(rest)), "progress")
    try:
        yield event(orjson.dumps(result_form(result)), "result")
    except BadTensor as error:
        raise Refusal(
            DoorCode.INTERNAL, f"the model's outputs: {error}", request_id=result.request_id
        ) from None


def problem_event(request: Request, refusal: Refusal) -> bytes:
    """The event that tells a refusal."""
    return event(bytes(problems.problem(request.scope, refusal, {}).body), "problem")


def progress_form(event: ProgressEvent) -> dict[str, Any]:
    """What is told of a request, in JSON."""
    told = {
        "request_id": event.request_id,
        "stage": event.stage,
        "model": event.model,
        "position": event.position,
        "estimate_ms": event.estimate_ms,
        "attempt": event.attempt,
        "step": event.step,
        "steps": event.steps,
        "loading": event.loading or None,
    }
    if event.chunk is not None:
        told |= {"sequence": event.sequence, "text": event.chunk.decode("utf-8", "replace")}
    return {name: value for name, value in told.items() if value is not None}


def _tensor(result: InferenceResult) -> Tensor:
    tensors = [each for each in result.outputs if isinstance(each, Tensor)]
    if len(tensors) != 1:
        raise _not_acceptable(result, "one tensor")
    return tensors[0]


def _as_npy(result: InferenceResult) -> tuple[bytes, dict[str, str]]:
    tensor = _tensor(result)
    if tensor.dtype not in _NPY:
        raise _not_acceptable(result, f"a file of numpy's, which holds no {tensor.dtype}")
    return npy(tensor), {}


def _as_bytes(result: InferenceResult) -> tuple[bytes, dict[str, str]]:
    if len(result.outputs) == 1 and isinstance(result.outputs[0], bytes):
        return result.outputs[0], {}
    tensor = _tensor(result)
    shape = ",".join(map(str, tensor.shape))
    return tensor.data, {DTYPE: tensor.dtype, SHAPE: shape}


def _as_packed(result: InferenceResult) -> tuple[bytes, dict[str, str]]:
    return orjson.dumps(result_form(result, packed=True)), {}


def _as_png(result: InferenceResult) -> tuple[bytes, dict[str, str]]:
    images = [each for each in result.outputs if isinstance(each, bytes)]
    if len(images) != 1 or not images[0].startswith(b"\x89PNG"):
        raise _not_acceptable(result, "one PNG")
    return images[0], {}


_FORMS: dict[str, Callable[[InferenceResult], tuple[bytes, dict[str, str]]]] = {
    "application/octet-stream": _as_bytes,
    "application/x-npy": _as_npy,
    "image/png": _as_png,
    PACKED: _as_packed,
}


_STREAM = {
    "schema": {
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
        "required": ["data"],
    }
}
STREAMED: dict[str, Any] = {EVENTS: _STREAM}
"""Events, for OpenAPI."""
BINARY: dict[str, Any] = {
    form: {"schema": {"type": "string", "format": "binary"}} for form in _FORMS if form != PACKED
}
"""The forms that are bytes, for OpenAPI."""


def _not_acceptable(result: InferenceResult, wanted: str) -> Refusal:
    return Refusal(
        DoorCode.NOT_ACCEPTABLE,
        f"the answer is not {wanted}; ask with `accept: {JSON}`",
        request_id=result.request_id,
    )
