"""The service of protos/modelmora/rpc/v1/inference.proto: gRPC to the hall and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc

from modelmora.errors import Code
from modelmora.gateway.calls.jobs import Job
from modelmora.gateway.doors.grpc.answers import (
    events_of,
    job_of,
    result_events,
    whole,
)
from modelmora.gateway.doors.grpc.asks import read_ask
from modelmora.gateway.doors.grpc.calls import (
    Call,
    decoded,
    fault,
    held,
    status_of,
    streaming,
    unary,
)
from modelmora.gateway.hall import Ask, Hall, check_request_id
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.watching import watch
from modelmora.messages.pieces import Followed
from modelmora.rpc.contents import progress_message, ref_message
from modelmora.rpc.v1 import inference_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name
IN_FLIGHT = 64
"""Requests of one stream that are under way at once; further ones are not read."""
Write = Callable[[Any], Awaitable[None]]


class InferenceService:
    """Running requests, and jobs."""

    def __init__(self, hall: Hall, metrics: Metrics) -> None:
        self._hall = hall
        self._metrics = metrics

    def handlers(self) -> Any:
        """The methods as gRPC takes them."""
        methods = {
            "Infer": unary(self._infer),
            "InferServerStream": streaming(self._infer_server_stream),
            "InferStream": streaming(self._infer_stream, many=True),
            "InferAsync": unary(self._infer_async),
            "GetJob": unary(self._get_job),
            "WatchJob": streaming(self._watch_job),
            "CancelJob": unary(self._cancel_job),
            "GetResult": unary(self._get_result),
            "StreamResult": streaming(self._stream_result),
            "AnnounceObject": unary(self._announce_object),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _infer(self, message: bytes, call: Call) -> Any:
        with held(self._hall, message):
            return whole(await self._hall.infer(self._read(message, call)))

    async def _infer_server_stream(self, message: bytes, call: Call) -> None:
        with held(self._hall, message):
            await self._follow(replace(self._read(message, call), progress=True), call.write)

    async def _infer_stream(self, messages: AsyncIterable[bytes], call: Call) -> None:
        free, turn = asyncio.Semaphore(IN_FLIGHT), asyncio.Lock()

        async def write(event: Any) -> None:
            async with turn:  # gRPC takes one at a time
                await call.write(event)

        async def run(index: int, message: bytes) -> None:
            try:
                await self._one_of_many(index, message, call, write)
            finally:
                free.release()

        index = 0
        async with asyncio.TaskGroup() as group:
            async for message in messages:
                await free.acquire()
                group.create_task(run(index, message))
                index += 1

    async def _one_of_many(self, index: int, message: bytes, call: Call, write: Write) -> None:
        try:
            with held(self._hall, message):
                await self._follow(self._read(message, call), write, index)
        except Exception as error:  # noqa: BLE001 - told
            refusal = error if isinstance(error, Refusal) else fault(error)
            status, request_id = status_of(refusal, call.traceparent), refusal.request_id
            await write(pb.InferEvent(index=index, request_id=request_id, error=status, end=True))

    async def _follow(self, ask: Ask, write: Write, index: int = 0) -> None:
        text = Followed()
        async with aclosing(watch(self._hall, [ask])) as coming:
            async for told in coming:
                if told:
                    async for event in events_of(told.what, text, index):
                        await write(event)

    async def _infer_async(self, message: bytes, call: Call) -> Any:
        with held(self._hall, message):
            return job_of(await self._hall.submit(self._read(message, call)), call.traceparent)

    async def _get_job(self, message: bytes, call: Call) -> Any:
        async with aclosing(self._hall.watch(_id_in(pb.GetJobRequest, message))) as coming:
            return job_of(await _job_of(coming), call.traceparent)

    async def _watch_job(self, message: bytes, call: Call) -> None:
        async with aclosing(self._hall.watch(_id_in(pb.WatchJobRequest, message))) as coming:
            async for told in coming:
                if isinstance(told, Job):
                    await call.write(pb.JobEvent(job=job_of(told, call.traceparent)))
                elif told:
                    await call.write(pb.JobEvent(progress=progress_message(told)))

    async def _cancel_job(self, message: bytes, call: Call) -> Any:
        job = await self._hall.cancel(_id_in(pb.CancelJobRequest, message))
        return job_of(job, call.traceparent)

    async def _get_result(self, message: bytes, _call: Call) -> Any:
        return whole(await self._hall.outcome(_id_in(pb.GetResultRequest, message)))

    async def _stream_result(self, message: bytes, call: Call) -> None:
        result = await self._hall.outcome(_id_in(pb.StreamResultRequest, message))
        async for event in result_events(result):
            await call.write(event)

    async def _announce_object(self, message: bytes, _call: Call) -> Any:
        told = decoded(pb.AnnounceObjectRequest, message)
        place = self._hall.shelf.announce(told.sha256, told.size, told.media_type)
        return pb.AnnounceObjectResponse(object=ref_message(place.ref), put_url=place.url)

    def _read(self, message: bytes, call: Call) -> Ask:
        request_id = ""
        try:
            request = decoded(pb.InferRequest, message)
            request_id = check_request_id(request.request_id) or ""
            return read_ask(request, call.traceparent, call.remaining_s())
        except Refusal as refusal:
            refusal.request_id = request_id
            self._metrics.refused("grpc", refusal.code)
            raise


def _id_in(kind: Any, message: bytes) -> str:
    request_id = check_request_id(decoded(kind, message).request_id)
    if request_id is None:
        raise Refusal(Code.INVALID_INPUT, "request_id: which job?", field="request_id")
    return request_id


async def _job_of(told: AsyncIterable[Any]) -> Job:
    """What is told of it first."""
    async for each in told:
        if isinstance(each, Job):
            return each
    raise AssertionError("a job's first word is how it stands")
