"""The Open Inference door over HTTP and gRPC, before a hall that is none."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc.aio
import httpx
import pytest

from modelmora.errors import Code
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.oip.ports import Port, contents_of, ports_of, tensors_of
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ControlVerb, Lane, RegistryKind, RegistryRecord, Tensor
from modelmora.rpc.oip import inference_pb2 as pb
from modelmora.rpc.oip import inference_pb2_grpc as pb_grpc
from tests.unit.gateway.fakes import FakeHall

X: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}
RAW = struct.pack("<2f", 1.5, -2.0)
TENSOR = Tensor("x", "FP32", (1, 2), RAW)
INFER = "/v2/models/echo/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
async def client(hall: FakeHall) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(hall, Metrics(), 1000), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


@pytest.fixture
async def stub(hall: FakeHall) -> AsyncIterator[Any]:
    server = RpcServer(hall, Metrics(), 1000)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
    await server.stop(0)


def binary(body: dict[str, Any], *data: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(body).encode()
    return b"".join((head, *data)), {LENGTH: str(len(head))}


def model(task: str, facts: dict[str, Any] | None = None) -> RegistryRecord:
    told = json.dumps(facts or {})
    return RegistryRecord(RegistryKind.MODEL, "m", "1", task, "s", "w", file_facts=told)


async def test_tensors_go_in_and_come_out(hall: FakeHall, client: httpx.AsyncClient) -> None:
    answer = await client.post(INFER, json={"id": "7", "inputs": [X]})
    assert hall.asks[0].inputs == (TENSOR,)
    assert answer.json() == {
        "model_name": "echo",
        "model_version": "1",
        "id": "7",
        "outputs": [X],
    }


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_bytes_go_in_and_come_out_behind_the_json(
    pack: Any, hall: FakeHall, client: httpx.AsyncClient
) -> None:
    words = b"\x02\x00\x00\x00hi\x01\x00\x00\x00\xff"
    tensors = [
        {k: v for k, v in X.items() if k != "data"} | {"parameters": {"binary_data_size": 8}},
        X | {"name": "y"},
        {
            "name": "z",
            "datatype": "BYTES",
            "shape": [2],
            "parameters": {"binary_data_size": len(words)},
        },
    ]
    body = {"inputs": tensors, "parameters": {"binary_data_output": True}}
    content, headers = binary(body, RAW, words)
    if pack is not bytes:
        headers["content-encoding"] = "gzip"
    answer = await client.post(INFER, content=pack(content), headers=headers)
    assert answer.status_code == 200, answer.text
    assert hall.asks[0].inputs == (
        TENSOR,
        replace(TENSOR, name="y"),
        Tensor("z", "BYTES", (2,), words),
    )
    length = int(answer.headers[LENGTH])
    told = json.loads(answer.content[:length])
    assert [each["parameters"] for each in told["outputs"]] == [
        {"binary_data_size": size} for size in (8, 8, len(words))
    ]
    assert answer.content[length:] == RAW + RAW + words


async def test_each_output_comes_as_it_is_wanted(client: httpx.AsyncClient) -> None:
    wanted = [{"name": "y", "parameters": {"binary_data": True}}, {"name": "x"}]
    body = {"inputs": [X, X | {"name": "y"}], "outputs": wanted}
    answer = await client.post(INFER, json=body)
    length = int(answer.headers[LENGTH])
    first, second = json.loads(answer.content[:length])["outputs"]
    assert (first["name"], first["parameters"]) == ("y", {"binary_data_size": 8})
    assert second == X
    assert answer.content[length:] == RAW


async def test_parameters_are_mapped(hall: FakeHall, client: httpx.AsyncClient) -> None:
    own = str(uuid.uuid4())
    for given in (
        {"id": own, "parameters": {"priority": 1, "timeout": 1500, "seed": 3, "stop": ["a"]}},
        {"id": "1", "parameters": {"priority": 9}},
        {"parameters": None},
    ):
        assert (await client.post(INFER, json={"inputs": [X]} | given)).status_code == 200
    first, second, third = hall.asks
    assert (first.request_id, first.lane, first.timeout_ms) == (own, Lane.CRITICAL, 2)
    assert first.parameters == {"seed": 3, "stop": ("a",)}
    assert (second.request_id, second.lane, second.timeout_ms) == (None, Lane.LOW, None)
    assert (third.request_id, third.lane) == (None, Lane.NORMAL)


HALF = {k: v for k, v in X.items() if k != "data"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": []}, "inputs: has one element at least"),
        ({"inputs": [HALF]}, "inputs.0: neither data nor binary_data_size is told"),
        ({"inputs": [X | {"parameters": {"binary_data_size": 8}}]}, "both data and"),
        ({"inputs": [HALF | {"parameters": {"binary_data_size": 8}}]}, "more bytes than the body"),
        ({"inputs": [HALF | {"parameters": {"binary_data_size": -1}}]}, "a whole number of bytes"),
        ({"inputs": [HALF | {"parameters": {"binary_data_size": True}}]}, "whole number of bytes"),
        ({"inputs": [X | {"datatype": "FP33"}]}, "dtype is one of"),
        ({"inputs": [X | {"shape": [3]}]}, "shape asks for 3 elements, data has 2"),
        ({"inputs": [X | {"shape": [-2, -1]}]}, "shape"),
        ({"inputs": [X | {"shape": [1 << 40, 1 << 40]}]}, "shape asks for"),
        ({"inputs": [X], "outputs": [{"name": "q"}]}, "there is no q; the model gives x"),
        ({"inputs": [X], "parameters": {"priority": -1}}, "priority: is a whole number"),
        ({"inputs": [X], "parameters": {"timeout": 1.5}}, "timeout: is a whole number"),
        ({"inputs": [X | {"parameters": {"shared_memory_region": "r"}}]}, "is not served"),
        ({"inputs": [X], "outputs": [{"name": "x", "parameters": {"classification": 2}}]}, "not"),
        ({"inputs": [X], "id": "x" * 2000}, "id: has more than 1024 characters"),
        ({"inputs": [X], "strange": 1}, "strange: is no field here"),
    ],
)
async def test_what_cannot_be_used_is_refused(
    body: dict[str, Any], words: str, hall: FakeHall, client: httpx.AsyncClient
) -> None:
    answer = await client.post(INFER, json=body)
    assert answer.status_code == 400
    assert [*answer.json()] == ["error"]
    assert words in answer.json()["error"]
    assert answer.headers["modelmora-error-code"] == "invalid_input"
    assert hall.held == 0


@pytest.mark.parametrize("length", ["-1", "x", "99999", "1", "9" * 5000, "²"])
async def test_a_length_that_lies_is_refused(length: str, client: httpx.AsyncClient) -> None:
    head = {LENGTH.encode(): length.encode("latin-1", "replace")}
    answer = await client.post(INFER, content=json.dumps({"inputs": [X]}), headers=head)
    assert answer.status_code == 400


async def test_bytes_that_no_input_asks_for_are_refused(client: httpx.AsyncClient) -> None:
    content, headers = binary({"inputs": [X]}, b"more")
    answer = await client.post(INFER, content=content, headers=headers)
    assert "4 bytes behind its JSON" in answer.json()["error"]


async def test_a_page_of_another_origin_cannot_ask(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    """Without a type a browser sends to anybody; it always says from where."""
    content = json.dumps({"inputs": [X]})
    answers = [
        await client.post(INFER, content=content, headers=headers)
        for headers in ({"origin": "http://evil"}, {"content-type": "text/plain"})
    ]
    answers.append(
        await client.post("/v2/repository/models/echo/unload", headers={"origin": "http://evil"})
    )
    assert [each.status_code for each in answers] == [415] * 3
    assert "error" in answers[0].json()
    assert not hall.asks
    assert not hall.wishes


async def test_errors_are_of_the_protocols_shape(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.refusal = Refusal(Code.BUSY, "come again", request_id="r")
    busy = await client.post(INFER, json={"inputs": [X]})
    assert (busy.status_code, busy.json()) == (503, {"error": "come again"})
    assert busy.headers["retry-after"] == "1"
    for path in ("/v2/models/none", "/v2/models/none/ready", "/v2/models/echo/versions/9"):
        answer = await client.get(path)
        assert (answer.status_code, [*answer.json()]) == (404, ["error"])
    for path in ("/v2/models/none/infer", "/v2/repository/models/none/load", "/v2/nowhere"):
        answer = await client.post(path, json={"inputs": [X]} if "infer" in path else {})
        assert (answer.status_code, [*answer.json()]) == (404, ["error"])


async def test_health_and_the_repository(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.registry.register("other")
    assert (await client.get("/v2")).json()["name"] == "modelmora"
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    assert (await client.get("/v2/models/echo/ready")).json() == {"name": "echo", "ready": True}
    assert (await client.get("/v2/models/other/ready")).status_code == 400
    index = (await client.post("/v2/repository/index")).json()
    assert [(each["name"], each["state"]) for each in index] == [
        ("echo", "READY"),
        ("other", "UNAVAILABLE"),
    ]
    assert index[1]["reason"] == "no node that runs serves it"
    ready = (await client.post("/v2/repository/index", json={"ready": True})).json()
    assert [each["name"] for each in ready] == ["echo"]
    hall.told = ("the broker does not answer",)
    assert (await client.get("/v2/health/ready")).status_code == 400
    assert (await client.get("/v2/models/echo/ready")).status_code == 400


async def test_orders_are_given_and_waited_for(hall: FakeHall, client: httpx.AsyncClient) -> None:
    load = await client.post("/v2/repository/models/echo/load", content=b"{}")
    body = {"parameters": {"unload_dependents": False}}
    unload = await client.post("/v2/repository/models/echo/unload", json=body)
    assert (load.json(), unload.json()) == ({}, {})
    assert [(wish.verb, wish.model) for wish in hall.wishes] == [
        (ControlVerb.LOAD, "echo@1"),
        (ControlVerb.UNLOAD, "echo@1"),
    ]
    assert all(wish.wait_s for wish in hall.wishes)
    files = {"parameters": {"file:1/model.onnx": "AAAA"}}
    answer = await client.post("/v2/repository/models/echo/load", json=files)
    assert (answer.status_code, len(hall.wishes)) == (400, 2)


def test_ports_are_those_of_the_task_and_of_the_files() -> None:
    assert ports_of(model("txt2embed", {"dimension": 384})).outputs == (
        Port("embedding", "FP32", (-1, 384)),
    )
    told = {"inputs": "x FP32 [batch, 3]; s BYTES of any shape; n INT64 []", "outputs": "y FP16 []"}
    ports = ports_of(model("tensor", told))
    assert ports.inputs == (
        Port("x", "FP32", (-1, 3)),
        Port("s", "BYTES", (-1,)),
        Port("n", "INT64", ()),
    )
    assert ports.outputs == (Port("y", "FP16", ()),)
    for odd in ("x… FP32 [3]; y FP32 [3]", "nothing", "", 7, None):
        assert ports_of(model("tensor", {"inputs": odd})).inputs == ()
    assert ports_of(model("strange")).inputs == ()


def words(name: str, *texts: bytes, dtype: str = "BYTES") -> Tensor:
    data = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return Tensor(name, dtype, (len(texts),), data)


def test_elements_are_texts_and_images_as_the_task_has_it() -> None:
    assert contents_of("txt2embed", [words("text", b"a", "é".encode())]) == ("a", "é")
    asked = [words("text", b"doc", b"doc2"), words("query", b"q")]
    assert contents_of("rerank", asked) == ("q", "doc", "doc2")
    assert contents_of("classify", [words("image", b"\xff")]) == (b"\xff",)
    assert contents_of("tensor", [words("text", b"a")]) == (words("text", b"a"),)
    assert contents_of("echo", [words("text", b"a"), words("t", b"a"), TENSOR]) == (
        "a",
        words("t", b"a"),
        TENSOR,
    )


@pytest.mark.parametrize(
    ("task", "tensors"),
    [
        ("txt2embed", [TENSOR]),
        ("txt2embed", [words("txt", b"a")]),
        ("txt2embed", [words("text", b"a"), words("text", b"b")]),
        ("txt2embed", [Tensor("text", "UINT8", (1,), b"a")]),
        ("txt2embed", [words("text", b"\xff")]),
        ("rerank", [words("text", b"a")]),
        ("txt2txt", [words("image", b"a")]),
        ("txt2txt", []),
    ],
)
def test_inputs_that_the_task_has_not_are_refused(task: str, tensors: list[Tensor]) -> None:
    with pytest.raises(Refusal, match=r"the model takes|UTF-8") as caught:
        contents_of(task, tensors)
    assert caught.value.code is Code.INVALID_INPUT


def test_outputs_are_tensors() -> None:
    assert tensors_of("img2txt", ["a", "b"]) == (words("text", b"a", b"b"),)
    assert tensors_of("txt2img", [b"PNG"]) == (words("image", b"PNG"),)
    assert tensors_of("echo", [b"x", TENSOR]) == (TENSOR, words("bytes", b"x"))


def request(**more: Any) -> Any:
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
    return pb.ModelInferRequest(model_name="echo", inputs=[entry], **more)


async def test_grpc_takes_raw_and_typed_contents(hall: FakeHall, stub: Any) -> None:
    typed = request()
    typed.inputs[0].contents.fp32_contents.extend([1.5, -2.0])
    parameters = {"priority": {"uint64_param": 2}, "timeout": {"int64_param": 7_000_000}}
    for each in (typed, request(raw_input_contents=[RAW], parameters=parameters)):
        answer = await stub.ModelInfer(each)
        assert [*answer.raw_output_contents] == [RAW]
        assert answer.outputs[0].datatype == "FP32"
        assert answer.id == "made-here"
    assert [ask.inputs for ask in hall.asks] == [(TENSOR,)] * 2
    assert (hall.asks[1].lane, hall.asks[1].timeout_ms) == (Lane.HIGH, 7000)
    assert hall.held == 0


@pytest.mark.parametrize(
    "odd",
    [
        request(raw_input_contents=[RAW, RAW]),
        request(raw_input_contents=[RAW[1:]]),
        request(),
        pb.ModelInferRequest(model_name="echo"),
        pb.ModelInferRequest(model_name="echo", inputs=[{"name": "x", "datatype": "FP16"}]),
        pb.ModelInferRequest(model_name="echo", inputs=[{"name": "x", "shape": [-1]}]),
    ],
)
async def test_grpc_refuses_what_cannot_be_used(odd: Any, hall: FakeHall, stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(odd)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert hall.held == 0


async def test_grpc_tells_of_models(hall: FakeHall, stub: Any) -> None:
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await stub.ModelReady(pb.ModelReadyRequest(name="echo"))).ready
    told = await stub.ModelMetadata(pb.ModelMetadataRequest(name="echo"))
    assert (told.platform, [*told.versions]) == ("modelmora_echo", ["1"])
    index = await stub.RepositoryIndex(pb.RepositoryIndexRequest())
    assert [(each.name, each.state) for each in index.models] == [("echo", "READY")]
    await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="echo"))
    await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="echo"))
    assert [wish.verb for wish in hall.wishes] == [ControlVerb.LOAD, ControlVerb.UNLOAD]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelReady(pb.ModelReadyRequest(name="none"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_stream_answers_in_order_and_survives_refusals(stub: Any) -> None:
    many = [request(id=str(number), raw_input_contents=[RAW]) for number in range(50)]
    many[3].model_name = "none"
    answers = [each async for each in stub.ModelStreamInfer(iter(many))]
    assert [each.infer_response.id for each in answers] == [str(number) for number in range(50)]
    assert "none is not served" in answers[3].error_message
    assert all(not each.error_message for number, each in enumerate(answers) if number != 3)


async def test_who_leaves_a_stream_cancels_what_runs(hall: FakeHall, stub: Any) -> None:
    hall.blocked = asyncio.Event()
    call = stub.ModelStreamInfer(iter([request(raw_input_contents=[RAW])] * 100))
    async with asyncio.timeout(60):
        await hall.entered.wait()
        call.cancel()
        await hall.gone.wait()
    assert len(hall.asks) < 30
