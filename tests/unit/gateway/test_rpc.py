"""The gRPC door, a real server before a hall that is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from modelmora.errors import Code, ConfigurationError
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rpc import RpcServer
from modelmora.messages import ChatMessage, Lane, ObjectRef, Tensor
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from tests.unit.gateway.fakes import FakeHall


@pytest.fixture
def hall() -> FakeHall:
    return FakeHall()


@pytest.fixture
async def stub(hall: FakeHall) -> AsyncIterator[Any]:
    server = RpcServer(hall, Metrics(), 1_000_000)
    port = await server.start("127.0.0.1", 0)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
    finally:
        await server.stop(0)


async def refused(stub: Any, request: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Infer(request)
    return caught.value


async def test_every_kind_of_input_goes_in_and_comes_out(hall: FakeHall, stub: Any) -> None:
    request = pb.InferRequest(
        request_id="mine",
        model_name="echo",
        inputs=[
            pb.Content(text="text"),
            pb.Content(data=b"\x00\xff"),
            pb.Content(tensor=pb.Tensor(name="t", dtype="INT64", shape=[1], data=bytes(8))),
            pb.Content(
                object=pb.ObjectRef(
                    uri="s3://b/k", sha256="00", size=1, media_type="image/png", expires_at=2
                )
            ),
            pb.Content(message=pb.ChatMessage(role="user", content="hello")),
        ],
        priority="high",
        timeout_ms=5000,
    )
    for name, kind, value in (
        ("b", "bool_value", True),
        ("c", "int_value", 1),
        ("d", "double_value", 1.5),
        ("e", "string_value", "x"),
    ):
        setattr(request.parameters[name], kind, value)
    request.parameters["f"].list_value.values.extend(["y", "z"])
    request.parameters["a"].SetInParent()
    answer = await stub.Infer(request)
    ask = hall.asks[0]
    assert ask.inputs == (
        "text",
        b"\x00\xff",
        Tensor("t", "INT64", (1,), bytes(8)),
        ObjectRef("s3://b/k", "00", 1, "image/png", 2),
        ChatMessage("user", "hello"),
    )
    assert ask.parameters == {"a": None, "b": True, "c": 1, "d": 1.5, "e": "x", "f": ("y", "z")}
    assert (ask.lane, ask.timeout_ms, ask.request_id) == (Lane.HIGH, 5000, "mine")
    assert list(answer.outputs) == list(request.inputs)
    assert (answer.request_id, answer.model, answer.version) == ("mine", "echo", "1")
    assert answer.timings.total_ms == 6.0
    assert hall.held == 0


async def test_the_shorter_deadline_counts(hall: FakeHall, stub: Any) -> None:
    one = [pb.Content(text="x")]
    await stub.Infer(pb.InferRequest(model_name="echo", inputs=one))
    await stub.Infer(pb.InferRequest(model_name="echo", inputs=one), timeout=40)
    await stub.Infer(pb.InferRequest(model_name="echo", inputs=one, timeout_ms=7), timeout=40)
    none, call, field = (ask.timeout_ms for ask in hall.asks)
    assert none is None
    assert call is not None
    assert 1 <= call < 60_000
    assert field == 7
    assert hall.asks[0].lane is Lane.NORMAL


@pytest.mark.parametrize(
    "request_",
    [
        pb.InferRequest(model_name="echo"),
        pb.InferRequest(model_name="echo", inputs=[pb.Content()]),
        pb.InferRequest(model_name="echo", inputs=[pb.Content(text="x")], priority="urgent"),
        pb.InferRequest(model_name="echo", inputs=[pb.Content(text="x")], timeout_ms=0),
        pb.InferRequest(model_name="echo", inputs=[pb.Content(text="x")], request_id="a b"),
        pb.InferRequest(
            model_name="echo",
            inputs=[pb.Content(tensor=pb.Tensor(dtype="FP32", shape=[2], data=b"x"))],
        ),
    ],
)
async def test_what_is_invalid_is_refused(request_: Any, hall: FakeHall, stub: Any) -> None:
    error = await refused(stub, request_)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert dict(error.trailing_metadata())["modelmora-error-code"] == "invalid_input"
    assert not hall.asks
    assert hall.held == 0


async def test_a_refusal_carries_code_id_and_time(hall: FakeHall, stub: Any) -> None:
    hall.refusal = Refusal(Code.BUSY, "full", retry_after_ms=1500, request_id="mine")
    error = await refused(stub, pb.InferRequest(model_name="echo", inputs=[pb.Content(text="x")]))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "full"
    trailing = dict(error.trailing_metadata())
    assert trailing["modelmora-error-code"] == "busy"
    assert trailing["modelmora-request-id"] == "mine"
    assert trailing["modelmora-retry-after-ms"] == "1500"


async def test_bytes_of_messages_are_bounded(hall: FakeHall, stub: Any) -> None:
    hall.limit = 5
    request = pb.InferRequest(model_name="echo", inputs=[pb.Content(text="x" * 10)])
    assert (await refused(stub, request)).code() is grpc.StatusCode.UNAVAILABLE
    assert hall.held == 0


async def test_a_cancelled_call_cancels(hall: FakeHall, stub: Any) -> None:
    hall.blocked = asyncio.Event()
    call = stub.Infer(pb.InferRequest(model_name="echo", inputs=[pb.Content(text="x")]))
    async with asyncio.timeout(30):
        await hall.entered.wait()
        call.cancel()
        await hall.gone.wait()


async def test_a_taken_port_is_told(hall: FakeHall) -> None:
    first, second = RpcServer(hall, Metrics(), 1000), RpcServer(hall, Metrics(), 1000)
    port = await first.start("127.0.0.1", 0)
    try:
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} cannot be listened on"):
            await second.start("127.0.0.1", port)
    finally:
        await first.stop(0)
        await second.stop(0)
