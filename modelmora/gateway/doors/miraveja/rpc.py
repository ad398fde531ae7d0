"""The services of `model.v1`: one call, a batch in its order, and a stream both ways."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from modelmora.errors import Code
from modelmora.gateway.choosing import asked_for, choose
from modelmora.gateway.doors.grpc.calls import Call, decoded, held
from modelmora.gateway.doors.miraveja.flows import Failures, in_order, in_parallel
from modelmora.gateway.doors.miraveja.images import image_of
from modelmora.gateway.doors.miraveja.kinds import KINDS, uris_of
from modelmora.gateway.hall import Ask, Hall
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.rpc.miraveja import model_pb2 as pb
from modelmora.settings import Purposes
from modelmora.web.tracing import traceparent_of
from modelmora.wire.forms import MAX_TIMEOUT_MS

DOOR = "miraveja"
_SERVICES = pb.DESCRIPTOR.services_by_name.values()
SERVICES = tuple(each.full_name for each in _SERVICES)
_CONTENT = 3
"""The number of the field that holds what is asked; in a batch it is a list of such."""


class MiravejaServices:
    """All of `model.v1`; `purposes` say which model answers where none is named."""

    def __init__(self, hall: Hall, metrics: Metrics, purposes: Purposes) -> None:
        self._hall = hall
        self._metrics = metrics
        self._purposes = purposes

    def handlers(self) -> tuple[Any, ...]:
        """The methods as gRPC takes them."""
        return tuple(
            grpc.method_handlers_generic_handler(
                service.full_name, {each.name: self._handler(each) for each in service.methods}
            )
            for service in _SERVICES
        )

    def _handler(self, method: Any) -> Any:
        """The handler of a method. What is sent is decoded here, where its fault can be told.

        The first method of a service takes the request that a batch holds many of.
        """
        one = GetMessageClass(method.containing_service.methods[0].input_type)
        told = GetMessageClass(method.output_type)
        if method.client_streaming:
            kind, made = grpc.stream_stream_rpc_method_handler, self._streaming(one, told)
        elif method.server_streaming:
            batch = GetMessageClass(method.input_type)
            kind, made = grpc.unary_stream_rpc_method_handler, self._batching(batch, one, told)
        else:
            kind, made = grpc.unary_unary_rpc_method_handler, self._calling(one, told)
        return kind(made, response_serializer=told.SerializeToString)

    def _calling(self, one: Any, told: Any) -> Any:
        async def call(message: bytes, context: Any) -> Any:
            try:
                with held(self._hall, message):
                    return await self._answer(self._decoded(one, message), told, context)
            except Exception as error:  # noqa: BLE001 - told
                await Call(context).fail(error)

        return call

    def _batching(self, batch: Any, one: Any, told: Any) -> Any:
        async def run(message: bytes, context: Any) -> AsyncGenerator[Any]:
            async def answer(request: Any) -> Any:
                return await self._answer(request, told, context)

            failures = Failures()
            try:
                with held(self._hall, message):
                    requests = _split(self._decoded(batch, message), one)
                    async for found in in_order(requests, answer, failures):
                        yield found
            except Exception as error:  # noqa: BLE001 - told
                await Call(context).fail(error)
            if failures.first:
                await Call(context).fail(*failures.told())

        return run

    def _streaming(self, one: Any, told: Any) -> Any:
        async def run(messages: AsyncIterator[bytes], context: Any) -> AsyncGenerator[Any]:
            async def answer(message: bytes) -> Any:
                with held(self._hall, message):
                    return await self._answer(self._decoded(one, message), told, context)

            def name(message: bytes) -> str:
                try:
                    return str(one.FromString(message).request_id)
                except DecodeError:
                    return ""

            failures = Failures()
            try:
                async for found in in_parallel(messages, answer, name, failures):
                    yield found
            except Exception as error:  # noqa: BLE001 - told
                await Call(context).fail(error)
            if failures.first:
                await Call(context).fail(*failures.told())

        return run

    async def _answer(self, request: Any, told: Any, context: Any) -> Any:
        """The response to one request. Raises Refusal."""
        kind = KINDS[type(request)]
        try:
            named = kind.model(request.model_name, self._purposes)
            record = choose(self._hall.registrar.state, kind.suits, named)
            images = tuple([await image_of(each, self._hall.shelf) for each in uris_of(request)])
            inputs, parameters = kind.send(request, images, record, self._purposes)
        except Refusal as refusal:
            self._metrics.refused(DOOR, refusal.code)
            raise
        metadata = dict(context.invocation_metadata())
        result = await self._hall.infer(
            Ask(
                DOOR,
                asked_for(record, named),
                inputs,
                parameters,
                timeout_ms=_timeout_ms(context.time_remaining()),
                traceparent=traceparent_of(metadata.get("traceparent")),
            )
        )
        response = told(inference_time_millis=round(result.timings.inference_ms))
        _echo(request, response)
        if "model_name" in told.DESCRIPTOR.fields_by_name and not request.model_name:
            response.model_name = f"{result.model}@{result.version}"
        kind.tell(result, response, self._purposes)
        return response

    def _decoded(self, kind: Any, message: bytes) -> Any:
        try:
            return decoded(kind, message)
        except Refusal as refusal:
            self._metrics.refused(DOOR, refusal.code)
            raise


def _split(batch: Any, one: Any) -> list[Any]:
    """A request for each item of a batch. Raises Refusal where there is none."""
    field = batch.DESCRIPTOR.fields_by_number[_CONTENT].name
    content = one.DESCRIPTOR.fields_by_number[_CONTENT].name
    items = getattr(batch, field)
    if not items:
        raise Refusal(Code.INVALID_INPUT, f"{field}: one at least is needed")
    marks = {"request_id": batch.request_id, "model_name": batch.model_name}
    return [one(**marks, **{content: item}) for item in items]


def _echo(request: Any, response: Any) -> None:
    """Everything that the response has of its request."""
    known = response.DESCRIPTOR.fields_by_name
    response.MergeFrom(
        type(response)(
            **{field.name: value for field, value in request.ListFields() if field.name in known}
        )
    )


def _timeout_ms(remaining_s: float | None) -> int | None:
    """The call's deadline; None where it has none, or a longer one than a record is kept."""
    if remaining_s is None or remaining_s * 1000 >= MAX_TIMEOUT_MS:
        return None
    return max(1, int(remaining_s * 1000))
