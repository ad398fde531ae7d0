"""How every gRPC service refuses: the status, its details, and the trailing metadata."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from modelmora.errors import Code
from modelmora.gateway.doors.grpc.server import METADATA_BYTES, SERVICES, RpcServer
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.rpc.v1 import (
    audit_pb2,
    deadletters_pb2,
    inference_pb2,
    management_pb2,
    registry_pb2,
    rights_pb2,
)
from tests.unit.gateway.fakes import FakeHall

FILES = (
    inference_pb2,
    management_pb2,
    registry_pb2,
    rights_pb2,
    deadletters_pb2,
    audit_pb2,
)
METHODS = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACED = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)
ONE = inference_pb2.InferRequest(model="echo", inputs=[inference_pb2.Content(text="x")])


@pytest.fixture
async def server(hall: FakeHall) -> RpcServer:
    return RpcServer(hall, Metrics(), 1_000_000)


@pytest.fixture
async def channel(server: RpcServer) -> AsyncIterator[Any]:
    port = await server.start("127.0.0.1", 0)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


async def refused(channel: Any, method: Any, message: bytes, **more: Any) -> Any:
    path = f"/{method.containing_service.full_name}/{method.name}"
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    call = make(path)(message, **more)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (anext(aiter(call)) if method.server_streaming else call)
    return caught.value


def details(error: Any) -> dict[type, Any]:
    """The details of an error by their kind."""
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found: dict[type, Any] = {}
    kinds: tuple[type[Message], ...] = (ErrorInfo, RequestInfo, RetryInfo, BadRequest)
    for packed in status.details:
        (kind,) = (each for each in kinds if packed.Is(each.DESCRIPTOR))
        packed.Unpack(found.setdefault(kind, kind()))
    return found


def method_of(service: str, name: str) -> Any:
    (found,) = (m for m in METHODS if (m.containing_service.name, m.name) == (service, name))
    return found


INFER = method_of("InferenceService", "Infer")
IN = {"inputs": [{"text": "x"}]}
# Status reads nothing; what is wrong on a stream of many is told in it, see test_streams.py.
READING = [each for each in METHODS if each.name != "Status" and not each.client_streaming]


@pytest.mark.parametrize("method", READING, ids=lambda method: method.full_name)
async def test_every_method_refuses_in_the_same_way(channel: Any, method: Any) -> None:
    error = await refused(channel, method, b"\xff\xff", metadata=TRACED)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == f"the message is no {method.input_type.name}"
    found = details(error)
    assert found[ErrorInfo] == ErrorInfo(reason="invalid_input", domain="modelmora")
    assert found[RequestInfo].serving_data == TRACE
    assert set(found) == {ErrorInfo, RequestInfo}


async def test_all_that_is_known_of_a_refusal_is_told(hall: FakeHall, channel: Any) -> None:
    hall.refusal = Refusal(Code.BUSY, "full", retry_after_ms=1500, request_id="mine")
    found = details(await refused(channel, INFER, ONE.SerializeToString()))
    assert found[ErrorInfo].reason == "busy"
    assert found[RequestInfo].request_id == "mine"
    assert len(found[RequestInfo].serving_data) == 32, "a trace of our own"
    assert found[RetryInfo].retry_delay.ToMilliseconds() == 1500
    assert BadRequest not in found


@pytest.mark.parametrize(
    ("service", "name", "request_", "field"),
    [
        ("InferenceService", "Infer", {"model": "echo"}, "inputs"),
        ("InferenceService", "Infer", {"model": "echo", "inputs": [{}]}, "inputs.0"),
        ("InferenceService", "Infer", {"model": "x", **IN}, "model"),
        ("InferenceService", "Infer", {"request_id": "a b"}, "request_id"),
        ("InferenceService", "InferServerStream", {"priority": "x"}, "priority"),
        ("InferenceService", "InferAsync", {**IN, "timeout_ms": 0}, "timeout_ms"),
        ("InferenceService", "GetJob", {}, "request_id"),
        ("ManagementService", "Load", {"model": "echo", "wait_ms": -1}, "wait_ms"),
        ("RegistryService", "Update", {"name": "echo", "version": "1", "fields": "["}, "fields"),
    ],
)
async def test_the_field_at_fault_is_named(
    service: str, name: str, request_: Any, field: str, channel: Any
) -> None:
    method = method_of(service, name)
    message = method.input_type._concrete_class(**request_)
    error = await refused(channel, method, message.SerializeToString())
    (violation,) = details(error)[BadRequest].field_violations
    assert (violation.field, violation.description) == (field, error.details())


@pytest.mark.parametrize("message", ["x" * 100_000, "\U0001f600" * 30_000, "\0" * 9000])
async def test_long_messages_still_arrive(message: str, hall: FakeHall, channel: Any) -> None:
    hall.refusal = Refusal(Code.UNKNOWN_MODEL, message, request_id="r" * 128)
    error = await refused(channel, INFER, ONE.SerializeToString())
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert details(error)[ErrorInfo].reason == "unknown_model"


async def test_faults_of_ours_are_told_without_their_words(hall: FakeHall, channel: Any) -> None:
    hall.refusal = RuntimeError("secret")
    for name in ("Infer", "InferServerStream"):
        method = method_of("InferenceService", name)
        error = await refused(channel, method, ONE.SerializeToString())
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(error.debug_error_string()) + str(error.trailing_metadata())
        assert details(error)[ErrorInfo].reason == "internal"


@pytest.mark.parametrize(
    "flood",
    [
        [("x-flood", "y" * 1_000_000)],
        [(f"x-{number}", "y" * 100) for number in range(8000)],
        [("x-flood", "y" * METADATA_BYTES)],
    ],
    ids=["long", "many", "little"],
)
async def test_floods_of_metadata_are_refused(
    flood: list[tuple[str, str]], hall: FakeHall, channel: Any
) -> None:
    error = await refused(channel, INFER, ONE.SerializeToString(), metadata=tuple(flood))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not hall.asks
    within = (("x-flood", "y" * (METADATA_BYTES - 1000)),)
    path = f"/{INFER.containing_service.full_name}/{INFER.name}"
    for _ in range(10):
        await channel.unary_unary(path)(ONE.SerializeToString(), metadata=within)


async def test_reflection_lists_all_and_knows_them(channel: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest
    ours = {method.containing_service.full_name for method in METHODS}
    questions = [asked(list_services=""), *(asked(file_containing_symbol=name) for name in ours)]
    first, *files = [each async for each in stub.ServerReflectionInfo(iter(questions))]
    listed = {each.name for each in first.list_services_response.service}
    assert ours <= set(SERVICES)
    shown = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert listed == shown.union(SERVICES)
    assert all(each.HasField("file_descriptor_response") for each in files)


async def test_health_knows_every_service(server: RpcServer, channel: Any) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for now in (False, True):
        await server.serving(now=now)
        for name in {"", *(method.containing_service.full_name for method in METHODS)}:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert (answer.status == health_pb2.HealthCheckResponse.SERVING) == now
