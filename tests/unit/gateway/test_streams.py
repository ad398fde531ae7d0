"""The gRPC door's streams and jobs, a real server before a hall that is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from modelmora.errors import Code
from modelmora.gateway.doors.grpc.answers import CHUNK_BYTES
from modelmora.gateway.doors.grpc.inference import IN_FLIGHT, SERVICE
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ObjectRef, ProgressEvent, ProgressStage, Tensor
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from tests.topics import until
from tests.unit.gateway.fakes import FakeHall

CAP_S = 30
ACCEPTED = ProgressEvent("r", ProgressStage.ACCEPTED, "echo@1", position=0, estimate_ms=1.5)
STEP = ProgressEvent("r", ProgressStage.CHUNK, "echo@1", sequence=1, step=1, steps=4)
HEL = ProgressEvent("r", ProgressStage.CHUNK, "echo@1", chunk=b"Hel")


@pytest.fixture
def hall() -> FakeHall:
    return FakeHall(limit=100 << 20)


@pytest.fixture
async def channel(hall: FakeHall) -> AsyncIterator[Any]:
    server = RpcServer(hall, Metrics(), 1_000_000)
    port = await server.start("127.0.0.1", 0)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


@pytest.fixture
def stub(channel: Any) -> Any:
    return pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]


def ask(text: str = "x", **more: Any) -> Any:
    return pb.InferRequest(model="echo", inputs=[pb.Content(text=text)], **more)


async def told(call: Any) -> list[Any]:
    async with asyncio.timeout(CAP_S):
        return [event async for event in call]


def joined(events: list[Any]) -> tuple[Any, list[bytes]]:
    """The result, and the bytes of each of its outputs that came in chunks."""
    at = next(number for number, event in enumerate(events) if event.HasField("result"))
    result, chunks = events[at].result, [event.chunk for event in events[at + 1 :]]
    assert [event.end for event in events] == [False] * (len(events) - 1) + [True]
    found = [b""] * len(result.outputs)
    for chunk in chunks:
        assert 0 < len(chunk.data) <= CHUNK_BYTES
        found[chunk.output] += chunk.data
    assert [len(data) for data in found] == [each.chunked_bytes for each in result.outputs]
    return result, found


async def test_a_stream_tells_progress_and_last_the_result(hall: FakeHall, stub: Any) -> None:
    hall.events = (ACCEPTED, HEL, STEP)
    events = await told(stub.InferServerStream(ask("Hello", priority="low", timeout_ms=5000)))
    assert hall.asks[0].progress
    assert hall.asks[0].timeout_ms == 5000
    *ways, last = events
    assert [each.WhichOneof("event") for each in events] == ["progress"] * 4 + ["result"]
    accepted, begun, step, rest = (each.progress for each in ways)
    assert (accepted.stage, accepted.position, accepted.estimate_ms) == ("ACCEPTED", 0, 1.5)
    assert not accepted.HasField("text")
    assert (begun.text, begun.sequence) == ("Hel", 0)
    assert (step.step, step.steps) == (1, 4)
    assert (rest.text, rest.sequence) == ("lo", 1), "the chunks of a text are the whole"
    assert last.end
    assert last.result.outputs[0].text == "Hello"
    assert hall.held == 0


async def test_large_outputs_come_in_chunks(hall: FakeHall, stub: Any) -> None:
    data, text = bytes(range(256)) * 5000, "é" * CHUNK_BYTES
    tensor = Tensor("t", "UINT8", (len(data),), data)
    reference = ObjectRef("s3://b/k", "00", 1, "image/png", 2)
    hall.outputs = ("small", data, text, b"", tensor, reference)
    result, found = joined(await told(stub.InferServerStream(ask())))
    assert found == [b"", data, text.encode(), b"", data, b""]
    kinds = [each.WhichOneof("kind") for each in result.outputs]
    assert kinds == ["text", "data", "text", "data", "tensor", "object"]
    assert result.outputs[0].text == "small"
    assert list(result.outputs[4].tensor.shape) == [len(data)]
    job = await stub.InferAsync(ask())
    await told(stub.WatchJob(pb.WatchJobRequest(request_id=job.request_id)))
    stored = await told(stub.StreamResult(pb.StreamResultRequest(request_id=job.request_id)))
    assert joined(stored)[1] == found


@pytest.mark.parametrize("way", ["cancel", "deadline"])
@pytest.mark.parametrize("many", [False, True])
async def test_who_leaves_a_stream_cancels(way: str, many: bool, hall: FakeHall, stub: Any) -> None:
    hall.blocked = asyncio.Event()

    async def requests() -> AsyncIterator[Any]:
        yield ask()
        await asyncio.Event().wait()

    timeout = 1.0 if way == "deadline" else None
    if many:
        call = stub.InferStream(requests(), timeout=timeout)
    else:
        call = stub.InferServerStream(ask(), timeout=timeout)
    async with asyncio.timeout(CAP_S):
        await hall.entered.wait()
        if way == "cancel":
            call.cancel()
        await hall.gone.wait()
        await until(lambda: not hall.held)


async def test_many_requests_on_one_stream(hall: FakeHall, stub: Any) -> None:
    """Answers as they come; what fails is told of its request alone."""
    hall.blocked, hall.events = asyncio.Event(), (ACCEPTED,)
    hall.refuses = lambda each: each.inputs == ("no",)
    call = stub.InferStream()
    async with asyncio.timeout(CAP_S):
        await call.write(ask("first", request_id="mine", progress=True))
        await call.write(ask("no"))
        await call.write(ask(priority="urgent", request_id="bad"))
        before = [await call.read() for _ in range(3)]
        hall.blocked.set()
        await call.done_writing()
        last = [await call.read(), await call.read()]
        assert await call.code() is grpc.StatusCode.OK
    by_index = {event.index: event for event in before}
    assert by_index[0].progress.stage == "ACCEPTED"
    assert not by_index[0].end
    assert by_index[1].error.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert by_index[2].request_id == "bad"
    assert by_index[2].error.message == "priority is one of critical, high, normal, low"
    assert by_index[1].end
    assert last[0].index == 0
    assert last[0].result.request_id == "mine"
    assert last[1] is grpc.aio.EOF
    assert hall.held == 0


async def test_no_more_than_so_many_are_under_way(hall: FakeHall, stub: Any) -> None:
    hall.blocked = asyncio.Event()
    call = stub.InferStream(iter([ask(str(number)) for number in range(3 * IN_FLIGHT)]))
    await until(lambda: len(hall.asks) == IN_FLIGHT)
    hall.blocked.set()
    events = await told(call)
    assert {event.index for event in events} == set(range(3 * IN_FLIGHT))
    assert all(event.result.outputs[0].text == str(event.index) for event in events)


async def test_a_caller_that_does_not_read_is_asked_no_further(hall: FakeHall, stub: Any) -> None:
    hall.outputs = (bytes(1 << 20),)
    sent = 0

    async def requests() -> AsyncIterator[Any]:
        nonlocal sent
        for _ in range(10 * IN_FLIGHT):
            sent += 1
            yield ask("x" * 100_000)

    call = stub.InferStream(requests())
    await until(lambda: len(hall.asks) >= IN_FLIGHT)
    seen = -1
    while seen != len(hall.asks):  # until nothing moves any more
        seen = len(hall.asks)
        for _ in range(200):
            await asyncio.sleep(0.001)
    assert seen < 3 * IN_FLIGHT
    async with asyncio.timeout(CAP_S):
        ended = sum([event.end async for event in call])
    assert ended == len(hall.asks) == 10 * IN_FLIGHT
    assert hall.held == 0


async def test_neither_faults_nor_junk_end_a_stream_of_many(hall: FakeHall, channel: Any) -> None:
    hall.refusal = RuntimeError("secret")
    call = channel.stream_stream(f"/{SERVICE}/InferStream")(
        iter([b"\xff\xff", ask().SerializeToString()])
    )
    events = sorted(map(pb.InferEvent.FromString, await told(call)), key=lambda each: each.index)
    assert [event.error.code for event in events] == [
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        grpc.StatusCode.INTERNAL.value[0],
    ]
    assert "secret" not in events[1].error.message


async def test_jobs(hall: FakeHall, stub: Any) -> None:
    hall.events = (ACCEPTED, STEP)
    job = await stub.InferAsync(ask(request_id="mine", progress=True))
    assert (job.request_id, job.model, job.state, job.position) == ("mine", "echo", "queued", 0)
    assert hall.asks[0].progress
    named = {"request_id": "mine"}
    assert (await stub.GetJob(pb.GetJobRequest(**named))).state == "queued"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetResult(pb.GetResultRequest(**named))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    events = await told(stub.WatchJob(pb.WatchJobRequest(**named)))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["job", "progress", "progress", "job"]
    assert events[-1].job.state == "completed"
    assert events[-1].job.held_until > events[-1].job.ended_at
    result = await stub.GetResult(pb.GetResultRequest(**named))
    assert result.outputs[0].text == "x"


async def test_a_cancelled_job_tells_why(hall: FakeHall, stub: Any) -> None:
    job = await stub.InferAsync(ask())
    cancelled = await stub.CancelJob(pb.CancelJobRequest(request_id=job.request_id))
    assert cancelled.state == "cancelled"
    assert cancelled.error.code == grpc.StatusCode.CANCELLED.value[0]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetResult(pb.GetResultRequest(request_id=job.request_id))
    assert caught.value.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("method", ["GetJob", "WatchJob", "CancelJob", "GetResult", "StreamResult"])
@pytest.mark.parametrize(
    ("request_id", "code"),
    [
        ("", grpc.StatusCode.INVALID_ARGUMENT),
        ("a b", grpc.StatusCode.INVALID_ARGUMENT),
        ("nobody's", grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_jobs_that_are_none(
    method: str, request_id: str, code: grpc.StatusCode, stub: Any
) -> None:
    call = getattr(stub, method)(getattr(pb, f"{method}Request")(request_id=request_id))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (told(call) if method in ("WatchJob", "StreamResult") else call)
    assert caught.value.code() is code
    trailing = dict(caught.value.trailing_metadata())
    assert trailing["modelmora-error-code"] in ("invalid_input", "not_found")


async def test_a_stream_that_is_refused_fails_as_a_call_does(hall: FakeHall, stub: Any) -> None:
    hall.refusal = Refusal(Code.BUSY, "full", retry_after_ms=1500)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await told(stub.InferServerStream(ask()))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(caught.value.trailing_metadata())["modelmora-retry-after-ms"] == "1500"
    assert hall.held == 0
