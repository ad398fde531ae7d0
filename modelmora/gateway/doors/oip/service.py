"""The service of protos/modelmora/rpc/oip/inference.proto: gRPC to the hall and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from modelmora.errors import Code
from modelmora.gateway.doors.grpc.calls import Call, decoded, held, unary
from modelmora.gateway.doors.oip import models
from modelmora.gateway.doors.oip.asking import DOOR, Answered, Asked, answer
from modelmora.gateway.hall import Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ControlVerb, Parameter, Tensor
from modelmora.rpc.oip import inference_pb2 as pb
from modelmora.wire.forms import MAX_TIMEOUT_MS
from modelmora.wire.tensors import BadTensor, check_tensor, framed, from_nested

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
AT_ONCE = 16
"""Requests of one stream that run; the next is read when the first of them is answered."""
_EMPTY_FINAL = "triton_enable_empty_final_response"
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class OpenInferenceService:
    """The protocol's calls."""

    def __init__(self, hall: Hall, metrics: Metrics) -> None:
        self._hall = hall
        self._metrics = metrics

    def handlers(self) -> Any:
        """The methods as gRPC takes them."""
        methods: dict[str, tuple[Any, Callable[[Any], Any]]] = {
            "ServerLive": (pb.ServerLiveRequest, lambda _: pb.ServerLiveResponse(live=True)),
            "ServerReady": (pb.ServerReadyRequest, self._ready),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (
                pb.ServerMetadataRequest,
                lambda _: pb.ServerMetadataResponse(**models.SERVER),
            ),
            "ModelMetadata": (pb.ModelMetadataRequest, self._metadata),
            "RepositoryIndex": (pb.RepositoryIndexRequest, self._index),
        }
        handlers = {name: _handler(*method) for name, method in methods.items()}
        for verb, kind, reply in (
            (ControlVerb.LOAD, pb.RepositoryModelLoadRequest, pb.RepositoryModelLoadResponse),
            (ControlVerb.UNLOAD, pb.RepositoryModelUnloadRequest, pb.RepositoryModelUnloadResponse),
        ):
            name = f"RepositoryModel{verb.capitalize()}"
            handlers[name] = _handler(kind, self._ordering(verb, reply))
        handlers["ModelInfer"] = unary(self._infer)
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream, response_serializer=lambda message: message.SerializeToString()
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _ready(self, _request: Any) -> Any:
        return pb.ServerReadyResponse(ready=not self._hall.faults())

    def _model_ready(self, request: Any) -> Any:
        ready = models.is_ready(self._hall, request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    def _metadata(self, request: Any) -> Any:
        told = models.metadata(self._hall, request.name, request.version)
        return pb.ModelMetadataResponse(**told)

    def _index(self, request: Any) -> Any:
        return pb.RepositoryIndexResponse(models=models.index(self._hall, ready=request.ready))

    def _ordering(self, verb: ControlVerb, reply: Any) -> Any:
        async def order(request: Any) -> Any:
            check_order(request.parameters)
            await models.order(self._hall, verb, request.model_name)
            return reply()

        return order

    async def _infer(self, message: bytes, call: Call) -> Any:
        """Run one request and wait for its outcome; a cancelled call cancels the request."""
        return write(await self._answer(message, call))

    async def _answer(self, message: bytes, call: Call) -> Answered:
        with held(self._hall, message):
            try:
                asked = read(decoded(pb.ModelInferRequest, message), call.remaining_s())
            except Refusal as refusal:
                self._metrics.refused(DOOR, refusal.code)
                raise
            return await answer(self._hall, asked, call.traceparent)

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """An answer to each message, in their order, AT_ONCE of them under way."""
        waiting: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(AT_ONCE)
        tasks: set[asyncio.Task[Any]] = set()

        async def read_all() -> None:
            async for message in messages:
                task = asyncio.create_task(self._told(message, call))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await waiting.put(task)
            await waiting.put(None)

        call = Call(context)
        reader = asyncio.create_task(read_all())
        try:
            while task := await waiting.get():
                yield await task
        finally:
            for each in (reader, *tasks):
                each.cancel()
            await asyncio.gather(reader, *tasks, return_exceptions=True)

    async def _told(self, message: bytes, call: Call) -> Any:
        """The answer to one message of a stream, or why there is none."""
        try:
            answered = write(await self._answer(message, call))
        except Refusal as refusal:
            own = pb.ModelInferResponse(id=_id_of(message) or refusal.request_id)
            return pb.ModelStreamInferResponse(error_message=refusal.message, infer_response=own)
        answered.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=answered)


def check_order(parameters: Mapping[str, Any]) -> None:
    """Whether an order can be followed; one that brings a model along cannot. Raises Refusal."""
    if set(parameters) - {"unload_dependents"}:
        message = "parameters: a model is loaded as it is registered; see /models"
        raise Refusal(Code.INVALID_INPUT, message)


def _handler(kind: Any, method: Callable[[Any], Any]) -> Any:
    async def answered(message: bytes, _call: Call) -> Any:
        found = method(decoded(kind, message))
        return await found if asyncio.iscoroutine(found) else found

    return unary(answered)


def _id_of(message: bytes) -> str:
    try:
        return str(pb.ModelInferRequest.FromString(message).id)
    except DecodeError:
        return ""


def read(request: Any, remaining_s: float | None) -> Asked:
    """The request in a message; raises Refusal that names the field, never its content."""
    parameters = {name: _parameter(value) for name, value in request.parameters.items()}
    parameters.pop(_EMPTY_FINAL, None)
    deadline = remaining_s is not None and remaining_s * 1000 < MAX_TIMEOUT_MS
    return Asked(
        request.model_name,
        request.model_version,
        request.id,
        _inputs(request),
        tuple(each.name for each in request.outputs),
        parameters,
        max(1, int(remaining_s * 1000)) if deadline and remaining_s is not None else None,
    )


def _inputs(request: Any) -> tuple[Tensor, ...]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        message = f"raw_input_contents: {len(raw)} for {len(request.inputs)} inputs"
        raise Refusal(Code.INVALID_INPUT, message)
    try:
        if raw:
            pairs = zip(request.inputs, raw, strict=True)
            return tuple(
                check_tensor(Tensor(each.name, each.datatype, tuple(each.shape), data))
                for each, data in pairs
            )
        return tuple(_typed(each) for each in request.inputs)
    except BadTensor as error:
        raise Refusal(Code.INVALID_INPUT, f"inputs: {error}") from None


def _typed(each: Any) -> Tensor:
    """An input whose elements are numbers of the message. Raises BadTensor."""
    field = _CONTENTS.get(each.datatype)
    if field is None:
        raise BadTensor(
            f"the datatype of one goes into raw_input_contents only, or is none: "
            f"{', '.join(_CONTENTS)} have contents"
        )
    found = getattr(each.contents, field)
    if field == "bytes_contents":
        data = b"".join(map(framed, found))
        return check_tensor(Tensor(each.name, each.datatype, tuple(each.shape), data))
    return from_nested(each.name, each.datatype, each.shape, [*found])


def _parameter(value: Any) -> Parameter:
    kind = value.WhichOneof("parameter_choice")
    parameter: Parameter = getattr(value, kind) if kind else None
    return parameter


def write(answered: Answered) -> Any:
    """The answer of a completed request, its outputs as bytes."""
    response = pb.ModelInferResponse(
        model_name=answered.model,
        model_version=answered.version,
        id=answered.id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=each.name, datatype=each.dtype, shape=each.shape
            )
            for each in answered.outputs
        ],
        raw_output_contents=[each.data for each in answered.outputs],
    )
    for name, value in answered.parameters.items():
        kind = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
        setattr(response.parameters[name], kind[type(value)], value)
    return response
