"""The REST door before a hall that is none."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message

from modelmora.errors import Code
from modelmora.gateway.doors.rest.routes import JSON_OVER_RECORD, create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import (
    ChatMessage,
    Lane,
    ObjectRef,
    Tensor,
    ToolCall,
)
from modelmora.web.problems import DoorCode
from tests.unit.gateway.fakes import LIMIT, FakeHall

CALL = {"id": "c", "name": "dim", "arguments": "{}"}
REF = {"uri": "s3://b/k", "sha256": "00", "size": 1, "media_type": "image/png", "expires_at": 2}


async def test_every_kind_of_input_goes_in_and_comes_out(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    inputs = [
        "text",
        {"bytes": base64.b64encode(b"\x00\xff").decode()},
        {"name": "t", "dtype": "FP32", "shape": [2, 1], "data": [[0.5], [-1.0]]},
        REF,
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "5", "name": "dim", "tool_call_id": "c"},
    ]
    answer = await client.post("/infer/echo", json={"inputs": inputs})
    assert answer.status_code == 200
    assert hall.asks[0].inputs == (
        "text",
        b"\x00\xff",
        Tensor("t", "FP32", (2, 1), bytes.fromhex("0000003f000080bf")),
        ObjectRef("s3://b/k", "00", 1, "image/png", 2),
        ChatMessage("user", "hello"),
        ChatMessage("assistant", "", None, (ToolCall(**CALL),)),
        ChatMessage("tool", "5", "dim", None, "c"),
    )
    assert answer.json() == {
        "request_id": "made-here",
        "model": "echo",
        "version": "1",
        "outputs": inputs,
        "settings": {},
        "timings": {"queue_ms": 1.0, "load_ms": 2.0, "inference_ms": 3.0, "total_ms": 6.0},
    }
    assert answer.headers["x-request-id"] == "made-here"


async def test_defaults_and_fields(hall: FakeHall, client: httpx.AsyncClient) -> None:
    await client.post("/infer/echo", json={"inputs": "alone"})
    parameters = {"a": None, "b": True, "c": 1, "d": 1.5, "e": "x", "f": ["y", "z"]}
    await client.post(
        "/infer/echo",
        json={"inputs": ["x"], "parameters": parameters, "priority": "low", "timeout_ms": 5},
        headers={"X-Request-Id": "mine"},
    )
    plain, full = hall.asks
    assert (plain.inputs, plain.lane, plain.timeout_ms) == (("alone",), Lane.NORMAL, None)
    assert plain.request_id is None
    assert (full.lane, full.timeout_ms, full.request_id) == (Lane.LOW, 5, "mine")
    assert full.parameters == parameters | {"f": ("y", "z")}
    assert isinstance(full.parameters["b"], bool)
    assert isinstance(full.parameters["c"], int)


SECRET = "the-secret-content"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": SECRET, "more": 1},
        {"inputs": [SECRET, 1]},
        {"inputs": [{"bytes": SECRET + "!"}]},
        {"inputs": [{"bytes": "AA==", "more": SECRET}]},
        {"inputs": [{"some": SECRET}]},
        {"inputs": [{"name": "t", "dtype": "FP32", "shape": [2], "data": [SECRET, 1]}]},
        {"inputs": [{"name": "t", "dtype": "FP31", "shape": [1], "data": [1]}]},
        {"inputs": [{"name": "t", "dtype": "FP32", "shape": [2, 2], "data": [[1], [1, 2, 3]]}]},
        {"inputs": "x", "parameters": {"p": {"deep": SECRET}}},
        {"inputs": "x", "parameters": {"p": 1 << 63}},
        {"inputs": "x", "priority": SECRET},
        {"inputs": "x", "timeout_ms": 0},
        {"inputs": "x", "timeout_ms": 1.5},
        [SECRET],
    ],
)
async def test_what_is_invalid_is_told_without_its_content(
    body: Any, hall: FakeHall, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/infer/echo", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert SECRET not in answer.text
    assert "\n" not in answer.json()["detail"]
    assert not hall.asks
    assert hall.held == 0


async def test_broken_json_and_a_bad_id_are_invalid(client: httpx.AsyncClient) -> None:
    for content, headers in (
        (b"{", {}),
        (b'{"inputs": "\xff"}', {}),
        (b'{"inputs": "\\ud800"}', {}),
        (b'{"inputs": "x"}', {"x-request-id": "two words"}),
        (b'{"inputs": "x"}', {"x-request-id": "x" * 129}),
    ):
        answer = await client.post("/infer/echo", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    twice = [("content-type", "application/json"), ("x-request-id", "a"), ("x-request-id", "b")]
    answer = await client.post("/infer/echo", content=b'{"inputs": "x"}', headers=twice)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    metrics = (await client.get("/metrics")).text
    assert 'modelmora_gateway_requests_total{code="invalid_input",door="rest"} 6.0' in metrics


async def test_problem_has_all_its_members(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.refusal = Refusal(Code.BUSY, "full\x1b[2J\n", retry_after_ms=2001, request_id="mine")
    trace = f"00-{'1' * 32}-{'2' * 16}-00"
    answer = await client.post("/infer/echo", json={"inputs": "x"}, headers={"traceparent": trace})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "3"
    assert answer.json() == {
        "type": "urn:modelmora:error:busy",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "full\\x1b[2J\\n",
        "instance": "/infer/echo",
        "code": "busy",
        "trace_id": "1" * 32,
        "request_id": "mine",
        "retry_after_ms": 2001,
    }
    assert hall.asks[0].traceparent == trace


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, DoorCode.NOT_FOUND),
        ("GET", "/infer/echo", 405, DoorCode.METHOD_NOT_ALLOWED),
        ("POST", "/infer/nobody", 404, Code.UNKNOWN_MODEL),
    ],
)
async def test_every_error_is_a_problem(
    method: str, path: str, status: int, code: str, client: httpx.AsyncClient
) -> None:
    answer = await client.request(method, path, json={"inputs": "x"})
    assert answer.status_code == status == answer.json()["status"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert len(answer.json()["trace_id"]) == 32


async def test_a_fault_of_ours_is_a_problem_too(
    hall: FakeHall, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hall, "models", lambda: 1 / 0)
    answer = await client.get("/health/models")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "zero" not in answer.text
    monkeypatch.setattr(hall, "infer", lambda _ask: 1 / 0)
    answer = await client.post("/infer/echo", json={"inputs": "x"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "zero" not in answer.text


async def test_outputs_that_contradict_themselves_are_a_fault(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    hall.outputs = (Tensor("t", "FP32", (2,), b"\x00"),)
    answer = await client.post("/infer/echo", json={"inputs": "x"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


async def test_too_large_whether_declared_or_streamed(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    large = b"x" * (LIMIT * JSON_OVER_RECORD + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(large), 1000):
            yield large[at : at + 1000]

    for content in (large, chunks()):
        answer = await client.post("/infer/echo", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert hall.held == 0


async def test_bytes_of_bodies_are_bounded(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.limit = 10
    answer = await client.post("/infer/echo", json={"inputs": "more than ten bytes"})
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert answer.headers["retry-after"] == "1"
    assert hall.held == 0


@pytest.mark.parametrize(
    ("path", "asked"), [("/infer/echo", b'{"inputs": "x"}'), ("/models/echo/load", b"{}")]
)
async def test_a_caller_that_hangs_up_cancels(hall: FakeHall, path: str, asked: bytes) -> None:
    hall.blocked = asyncio.Event()
    app = create_app(hall, Metrics(), LIMIT)
    hung_up = asyncio.Event()
    messages: list[Message] = [{"type": "http.request", "body": asked, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        assert message.get("status", 499) == 499

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
    }
    serving = asyncio.create_task(app(scope, receive, send))
    async with asyncio.timeout(30):
        await hall.entered.wait()
        hung_up.set()
        await hall.gone.wait()
        await serving


async def test_health_and_models(hall: FakeHall, client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"live": True}
    assert (await client.get("/health/started")).json() == {"started": True}
    assert (await client.get("/health")).json()["status"] == "ok"
    assert (await client.get("/health/ready")).status_code == 200
    model = {"name": "echo", "version": "1", "state": "ready", "reason": None}
    assert (await client.get("/models")).json()["models"] == [
        model
        | {"task": "echo", "source": "tests", "max_inputs": None, "active": True, "declared": False}
    ]
    assert (await client.get("/health/models")).json()["models"] == [model]
    hall.registry.register("torn")
    hall.reasons["torn"] = "model.safetensors has 1 kB and should have 2 kB"
    for path in ("/models", "/health/models"):
        fine, torn = (await client.get(path)).json()["models"]
        assert (fine["state"], fine["reason"]) == ("ready", None)
        assert (torn["name"], torn["state"]) == ("torn", "failed")
        assert torn["reason"] == hall.reasons["torn"]
    assert f"failed: {hall.reasons['torn']}" in (await client.get("/")).text
    hall.told = ("the broker does not answer",)
    ready = await client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json() == {"ready": False, "faults": ["the broker does not answer"]}
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "unavailable")


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_load_nothing_from_elsewhere(path: str, client: httpx.AsyncClient) -> None:
    answer = await client.get(path)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for loading in ("src=", "@import", "url(", "//fonts", "cdn"):
        assert loading not in answer.text
    linked = set(re.findall(r'href="(/[^"]*)"', answer.text))
    assert {"/docs", "/openapi.json", "/health", "/metrics"} <= linked
    for link in linked:
        assert (await client.get(link)).status_code == 200


async def test_what_the_pages_say_is_no_html_of_strangers(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    evil = "<script>alert(1)</script>"
    hall.told = (evil,)
    hall.registry.register("torn")
    hall.reasons["torn"] = evil
    for path in ("/", "/docs"):
        page = (await client.get(path, headers={"host": "x$(id)'\"><b>"})).text
        assert evil not in page
        assert "$(id)" not in page
        assert "localhost:8080" in page


async def test_every_operation_is_described_by_a_person(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    for each in schema["paths"].values():
        for operation in each.values():
            assert operation["summary"]
            assert operation["description"]
            assert all(given["description"] for given in operation.get("parameters", ()))
            for answer in operation["responses"].values():
                assert answer["description"] not in ("", "Successful Response")
    fields = schema["components"]["schemas"]["InferBody"]["properties"].values()
    assert all(field["description"] for field in fields)
