"""The gRPC door, a real server before a hall that is none."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from modelmora.errors import Code, ConfigurationError
from modelmora.gateway.doors.grpc.inference import SERVICE
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ChatMessage, Lane, ObjectRef, Tensor, ToolCall
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from tests.unit.gateway.fakes import FakeHall


@pytest.fixture
async def port(hall: FakeHall) -> AsyncIterator[int]:
    server = RpcServer(hall, Metrics(), 1_000_000)
    try:
        yield await server.start("127.0.0.1", 0)
    finally:
        await server.stop(0)


@pytest.fixture
async def channel(port: int) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


@pytest.fixture
def stub(channel: Any) -> Any:
    return pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]


async def refused(stub: Any, request: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Infer(request)
    return caught.value


async def test_every_kind_of_input_goes_in_and_comes_out(hall: FakeHall, stub: Any) -> None:
    request = pb.InferRequest(
        request_id="mine",
        model="echo",
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
            pb.Content(
                message=pb.ChatMessage(
                    role="assistant",
                    name="",
                    tool_calls=[pb.ToolCall(id="c", name="dim", arguments="{}")],
                )
            ),
            pb.Content(message=pb.ChatMessage(role="tool", content="5", tool_call_id="c")),
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
        ChatMessage("assistant", "", "", (ToolCall("c", "dim", "{}"),)),
        ChatMessage("tool", "5", tool_call_id="c"),
    )
    assert ask.parameters == {"a": None, "b": True, "c": 1, "d": 1.5, "e": "x", "f": ("y", "z")}
    assert (ask.lane, ask.timeout_ms, ask.request_id) == (Lane.HIGH, 5000, "mine")
    assert list(answer.outputs) == list(request.inputs)
    assert (answer.request_id, answer.model, answer.version) == ("mine", "echo", "1")
    assert answer.timings.total_ms == 6.0
    assert hall.held == 0


async def test_the_shorter_deadline_counts(hall: FakeHall, stub: Any) -> None:
    one = [pb.Content(text="x")]
    await stub.Infer(pb.InferRequest(model="echo", inputs=one))
    await stub.Infer(pb.InferRequest(model="echo", inputs=one), timeout=40)
    await stub.Infer(pb.InferRequest(model="echo", inputs=one, timeout_ms=7), timeout=40)
    none, call, field = (ask.timeout_ms for ask in hall.asks)
    assert none is None
    assert call is not None
    assert 1 <= call < 60_000
    assert field == 7
    assert hall.asks[0].lane is Lane.NORMAL


@pytest.mark.parametrize(
    "request_",
    [
        pb.InferRequest(model="echo"),
        pb.InferRequest(model="echo", inputs=[pb.Content()]),
        pb.InferRequest(model="echo", inputs=[pb.Content(text="x")], priority="urgent"),
        pb.InferRequest(model="echo", inputs=[pb.Content(text="x")], timeout_ms=0),
        pb.InferRequest(model="echo", inputs=[pb.Content(text="x")], request_id="a b"),
        pb.InferRequest(
            model="echo",
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
    hall.refusal = Refusal(Code.BUSY, "full\x1b[2J\n", retry_after_ms=1500, request_id="mine")
    error = await refused(stub, pb.InferRequest(model="echo", inputs=[pb.Content(text="x")]))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "full\\x1b[2J\\n"
    trailing = dict(error.trailing_metadata())
    assert trailing["modelmora-error-code"] == "busy"
    assert trailing["modelmora-request-id"] == "mine"
    assert trailing["modelmora-retry-after-ms"] == "1500"


async def test_bytes_of_messages_are_bounded(hall: FakeHall, stub: Any) -> None:
    hall.limit = 5
    request = pb.InferRequest(model="echo", inputs=[pb.Content(text="x" * 10)])
    assert (await refused(stub, request)).code() is grpc.StatusCode.UNAVAILABLE
    assert hall.held == 0


async def test_a_cancelled_call_cancels(hall: FakeHall, stub: Any) -> None:
    hall.blocked = asyncio.Event()
    call = stub.Infer(pb.InferRequest(model="echo", inputs=[pb.Content(text="x")]))
    async with asyncio.timeout(30):
        await hall.entered.wait()
        call.cancel()
        await hall.gone.wait()


ONE = pb.InferRequest(model="echo", inputs=[pb.Content(text="x")])
INFER = f"/{SERVICE}/Infer"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages_are_taken(compression: Any, stub: Any) -> None:
    assert (await stub.Infer(ONE, compression=compression)).outputs[0].text == "x"


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
async def test_messages_beyond_the_limit_are_refused_packed_or_not(
    compression: Any, hall: FakeHall, stub: Any
) -> None:
    large = pb.InferRequest(model="echo", inputs=[pb.Content(text="x" * 20_000_000)])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Infer(large, compression=compression)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not hall.asks
    assert hall.held == 0


async def test_answers_are_as_large_as_outputs_are(hall: FakeHall, port: int) -> None:
    hall.outputs = ("x" * 10_000_000,)
    options = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        answer = await channel.unary_unary(INFER)(ONE.SerializeToString())
    assert len(answer) > 10_000_000


async def test_what_is_no_message_is_told(channel: Any, hall: FakeHall) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(INFER)(b"\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert dict(caught.value.trailing_metadata())["modelmora-error-code"] == "invalid_input"
    assert hall.held == 0


async def test_other_methods_are_unimplemented(channel: Any) -> None:
    for method in (f"/{SERVICE}/Other", "/other.Service/Infer"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(method)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_call_whose_deadline_passes_cancels(hall: FakeHall, stub: Any) -> None:
    hall.blocked = asyncio.Event()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Infer(ONE, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    if hall.asks:  # a loaded machine may have let it pass before the call came in
        async with asyncio.timeout(30):
            await hall.gone.wait()


async def test_pings_are_answered_however_many(port: int) -> None:
    """gRPC's own clients ping no oftener than each 10 s; its servers take that as abuse."""
    pings = [struct.pack(">Q", number) for number in range(50)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
    writer.write(b"".join(frame(PING, ping) for ping in pings))
    answered: list[bytes] = []
    async with asyncio.timeout(30):
        while len(answered) < len(pings):
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            assert head[3] != GOAWAY, payload
            if head[3] == PING:
                answered.append(payload)
    assert answered == pings
    writer.close()


SETTINGS, PING, GOAWAY = 4, 6, 7


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 on the connection itself."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 0]) + payload


async def test_a_taken_port_is_told(hall: FakeHall) -> None:
    first, second = RpcServer(hall, Metrics(), 1000), RpcServer(hall, Metrics(), 1000)
    port = await first.start("127.0.0.1", 0)
    try:
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} cannot be listened on"):
            await second.start("127.0.0.1", port)
    finally:
        await first.stop(0)
        await second.stop(0)
