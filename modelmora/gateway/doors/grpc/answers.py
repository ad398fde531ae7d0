"""What the hall tells to messages of inference.proto, large outputs in chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from functools import partial
from typing import Any

from modelmora.gateway.calls.jobs import Job
from modelmora.gateway.doors.grpc.calls import status_of
from modelmora.gateway.outcomes import refusal_of_error
from modelmora.messages import Content, InferenceResult, ProgressEvent, Tensor
from modelmora.messages.pieces import Followed
from modelmora.rpc.contents import parameter_messages, part_of, progress_message
from modelmora.rpc.v1 import inference_pb2 as pb

CHUNK_BYTES = 256 << 10


async def events_of(
    what: ProgressEvent | InferenceResult, text: Followed, index: int = 0
) -> AsyncGenerator[Any]:
    """What is told of a request as events; of its text what was not told by its result, then."""
    if isinstance(what, ProgressEvent):
        text.take(what)
        yield _progress_event(what, index)
        return
    if rest := text.rest_of(what):
        yield _progress_event(rest, index)
    async for event in result_events(what, index):
        yield event


async def result_events(result: InferenceResult, index: int = 0) -> AsyncGenerator[Any]:
    """The result, and behind it the chunks of its large outputs, which are encoded already."""
    opened = [_open(content) for content in result.outputs]
    left = sum(head.chunked_bytes for head, _ in opened)
    event = partial(pb.InferEvent, index=index, request_id=result.request_id)
    response = write_response(result, [head for head, _ in opened])
    yield event(result=response, end=not left)
    for number, (head, source) in enumerate(opened):
        if head.chunked_bytes:
            async for data in source:
                left -= len(data)
                yield _chunk(event(end=not left), number, data)


def write_response(result: InferenceResult, outputs: Sequence[Any]) -> Any:
    """The answer of a completed request."""
    timings = result.timings
    return pb.InferResponse(
        request_id=result.request_id,
        model=result.model,
        version=result.version,
        outputs=outputs,
        timings=pb.Timings(
            queue_ms=timings.queue_ms,
            load_ms=timings.load_ms,
            inference_ms=timings.inference_ms,
            total_ms=timings.total_ms,
        ),
        settings=parameter_messages(result.settings),
    )


def whole(result: InferenceResult) -> Any:
    """The answer with all of its outputs in it."""
    return write_response(result, [part_of(content) for content in result.outputs])


def _chunk(event: Any, output: int, data: memoryview) -> bytes:
    """The event with a chunk of these bytes: they are copied once here, by protobuf three times.

    Two encoded messages, one behind the other, are the encoding of both merged;
    https://protobuf.dev/programming-guides/encoding/#last-one-wins.
    """
    inner = pb.Chunk(output=output).SerializeToString() + _DATA + _varint(len(data))
    size = _varint(len(inner) + len(data))
    return b"".join((event.SerializeToString(), _CHUNK, size, inner, data))


def _tag(message: Any, field: str) -> bytes:
    """What stands before a field of a length of its own (wire type 2)."""
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


_CHUNK, _DATA = _tag(pb.InferEvent, "chunk"), _tag(pb.Chunk, "data")


def _open(content: Content) -> tuple[Any, AsyncIterable[memoryview]]:
    """An output as its result has it, and where its bytes come from if that has none of them."""
    match content:
        case str():
            data, head = content.encode(), pb.Content(text="")
        case bytes():
            data, head = content, pb.Content(data=b"")
        case Tensor(name, dtype, shape, data):
            head = pb.Content(tensor=pb.Tensor(name=name, dtype=dtype, shape=shape))
        case _:
            data = b""
    if len(data) <= CHUNK_BYTES:
        return part_of(content), _cut(b"")
    head.chunked_bytes = len(data)
    return head, _cut(data)


async def _cut(data: bytes) -> AsyncGenerator[memoryview]:
    view = memoryview(data)
    for at in range(0, len(data), CHUNK_BYTES):
        yield view[at : at + CHUNK_BYTES]


def _progress_event(event: ProgressEvent, index: int) -> Any:
    return pb.InferEvent(index=index, request_id=event.request_id, progress=progress_message(event))


def job_of(job: Job, traceparent: str) -> Any:
    """How a job stands."""
    error = job.error and status_of(refusal_of_error(job.error, job.request_id), traceparent)
    return pb.Job(
        request_id=job.request_id,
        model=job.model,
        version=job.version,
        state=job.state,
        submitted_at=job.submitted_at,
        position=job.position,
        estimate_ms=job.estimate_ms,
        step=job.step,
        steps=job.steps,
        ended_at=job.ended_at,
        held_until=job.held_until,
        error=error,
    )
