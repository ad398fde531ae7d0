"""The gateway on a real broker, answered by a responder that is none of ours."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import grpc.aio
import httpx
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from modelmora.gateway.app import Gateway
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.settings import Settings
from modelmora.wire import new_request_id
from tests.integration.gateway.responder import Responder, partitioner_of
from tests.integration.gateway.rig import (
    CAP_S,
    PARTITIONS,
    cancelled,
    find,
    health_is,
    running,
    seen,
)

CODES = {
    "unknown_parameter": (400, "INVALID_ARGUMENT"),
    "invalid_input": (400, "INVALID_ARGUMENT"),
    "too_large": (413, "INVALID_ARGUMENT"),
    "unknown_model": (404, "NOT_FOUND"),
    "busy": (503, "UNAVAILABLE"),
    "starting": (503, "UNAVAILABLE"),
    "stopping": (503, "UNAVAILABLE"),
    "expired": (504, "DEADLINE_EXCEEDED"),
    "cancelled": (409, "CANCELLED"),
    "stopped": (500, "INTERNAL"),
    "model_unavailable": (503, "UNAVAILABLE"),
    "cannot_be_served": (500, "INTERNAL"),
    "worker_crash": (500, "INTERNAL"),
}


async def test_rest_writes_what_nodes_expect_and_answers(
    rest: httpx.AsyncClient, responder: Responder
) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    answer = await rest.post(
        "/infer/echo@1",
        json={
            "inputs": ["one", {"bytes": "AAE="}],
            "parameters": {"n": 3, "names": ["x", "y"]},
            "priority": "critical",
            "timeout_ms": 30_000,
        },
        headers={"traceparent": trace},
    )
    assert answer.status_code == 200
    body = answer.json()
    assert answer.headers["x-request-id"] == body["request_id"]
    assert body["outputs"] == ["one", {"bytes": "AAE="}]
    assert (body["model"], body["version"]) == ("echo", "1")
    assert body["timings"]["total_ms"] == 3.0
    message, request = await seen(responder, body["request_id"])
    assert message.topic().endswith(".requests.critical")
    assert message.key() == b"echo"
    assert message.partition() == partitioner_of("echo", PARTITIONS)
    headers = dict(message.headers())
    assert headers["traceparent"] == trace.encode()
    assert headers["modelmora-principal"] == b"local"
    assert headers["modelmora-gateway"]
    assert request["model"] == "echo@1"
    assert request["timeout_ms"] == 30_000
    assert request["parameters"] == {"n": 3, "names": ["x", "y"]}


async def test_grpc_answers(stub: Any) -> None:
    tensor = pb.Tensor(name="t", dtype="FP32", shape=[1, 2], data=bytes(8))
    answer = await stub.Infer(
        pb.InferRequest(model="echo", inputs=[pb.Content(text="one"), pb.Content(tensor=tensor)])
    )
    assert [part.WhichOneof("kind") for part in answer.outputs] == ["text", "tensor"]
    assert answer.outputs[1].tensor == tensor
    assert answer.timings.inference_ms == 2.0


@pytest.mark.parametrize("code", CODES)
async def test_codes_become_statuses(code: str, rest: httpx.AsyncClient, stub: Any) -> None:
    status, name = CODES[code]
    answer = await rest.post(
        "/infer/refuse",
        json={"inputs": "x", "parameters": {"code": code, "retry_after_ms": 1500}},
    )
    problem = answer.json()
    assert answer.status_code == status == problem["status"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["detail"]) == (code, "asked for")
    assert problem["retry_after_ms"] == 1500
    assert answer.headers["retry-after"] == "2"
    assert problem["request_id"] == answer.headers["x-request-id"]
    request = pb.InferRequest(model="refuse", inputs=[pb.Content(text="x")])
    request.parameters["code"].string_value = code
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Infer(request)
    assert caught.value.code().name == name
    assert dict(caught.value.trailing_metadata())["modelmora-error-code"] == code


async def test_models_come_from_the_registry(
    rest: httpx.AsyncClient, stub: Any, responder: Responder
) -> None:
    names = [model["name"] for model in (await rest.get("/models")).json()["models"]]
    assert names == ["echo", "refuse", "silent"]
    for unknown, told in (
        ("ecco", "ecco is not served; see `modelmora list` or GET /models; did you mean echo?"),
        ("echo@2", "echo@2 is not served; echo has 1 version: 1"),
    ):
        own = {"x-request-id": "own"}
        answer = await rest.post(f"/infer/{unknown}", json={"inputs": "x"}, headers=own)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")
        assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("own", "own")
        assert answer.json()["detail"].startswith(told)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Infer(pb.InferRequest(model=unknown, inputs=[pb.Content(text="x")]))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == answer.json()["detail"]


async def test_without_a_node_the_gateway_says_so(settings: Settings, responder: Responder) -> None:
    patient = settings.timing.model_copy(update={"session_timeout_s": 1.0})
    async with (
        running(settings.model_copy(update={"timing": patient})) as gateway,
        httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as rest,
    ):
        await ready_is(rest, 200)
        responder.lease(present=False)
        try:
            assert await ready_is(rest, 503) == ["no node tells that it runs"]
            unknown = await rest.post("/infer/nobody", json={"inputs": "x"})
            assert (unknown.status_code, unknown.json()["code"]) == (503, "no_node")
            code, ask = "", {"inputs": "x", "timeout_ms": 200}
            async with asyncio.timeout(CAP_S):
                while code != "no_node":  # one that is known may wait for the next node a while
                    answer = await rest.post("/infer/silent", json=ask)
                    code = answer.json()["code"]
                    assert code in ("expired", "no_node")
            assert answer.headers["retry-after"] == "5"
        finally:
            responder.lease()
        await ready_is(rest, 200)
        assert (await rest.post("/infer/echo", json={"inputs": "x"})).status_code == 200


async def ready_is(rest: httpx.AsyncClient, status: int) -> list[str]:
    """Wait until the gateway's readiness has this status; its faults."""
    async with asyncio.timeout(CAP_S):
        while (answer := await rest.get("/health/ready")).status_code != status:
            pass
    faults: list[str] = answer.json()["faults"]
    return faults


async def test_caller_gone_cancels(gateway: Gateway, stub: Any, responder: Responder) -> None:
    host, _, port = gateway.http.removeprefix("http://").partition(":")
    rest_id, grpc_id = new_request_id(), new_request_id()
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /infer/silent HTTP/1.1\r\nHost: x\r\nX-Request-Id: %s\r\n"
        b"Content-Type: application/json\r\n"
        b'Content-Length: 14\r\n\r\n{"inputs":"x"}' % rest_id.encode()
    )
    await seen(responder, rest_id)
    writer.close()
    await cancelled(responder, rest_id)
    call = stub.Infer(
        pb.InferRequest(request_id=grpc_id, model="silent", inputs=[pb.Content(text="x")])
    )
    await seen(responder, grpc_id)
    call.cancel()
    await cancelled(responder, grpc_id)


async def test_the_deadline_ends_the_waiting(
    rest: httpx.AsyncClient, stub: Any, responder: Responder
) -> None:
    answer = await rest.post("/infer/silent", json={"inputs": "x", "timeout_ms": 20})
    assert (answer.status_code, answer.json()["code"]) == (504, "expired")
    await cancelled(responder, answer.json()["request_id"])
    mine = new_request_id()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Infer(
            pb.InferRequest(request_id=mine, model="silent", inputs=[pb.Content(text="x")]),
            timeout=2,
        )
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    _, request = await seen(responder, mine)
    assert 0 < request["timeout_ms"] < 3000
    await cancelled(responder, mine)


@pytest.mark.parametrize("mine", [new_request_id, lambda: f"order-{uuid.uuid4()}"])
async def test_an_own_id_runs_once(
    mine: Callable[[], str], rest: httpx.AsyncClient, settings: Settings, responder: Responder
) -> None:
    own = mine()
    headers = {"x-request-id": own}
    first = await rest.post("/infer/echo", json={"inputs": "first"}, headers=headers)
    again = await rest.post("/infer/echo", json={"inputs": "second"}, headers=headers)
    async with (
        running(settings) as other,  # which has read nothing of it yet
        httpx.AsyncClient(base_url=other.http, timeout=CAP_S) as client,
    ):
        third = await client.post("/infer/echo", json={"inputs": "third"}, headers=headers)
    assert first.json() == again.json() == third.json()
    assert first.json()["request_id"] == own
    assert first.json()["outputs"] == ["first"]
    after = (await rest.post("/infer/echo", json={"inputs": "after"})).json()["request_id"]
    ids = []
    while after not in ids:
        _, request = await find(responder.seen, lambda _: True)
        ids.append(request["request_id"])
    assert ids.count(own) == 1


async def test_who_asks_after_a_replay_is_told_how_that_ended(
    rest: httpx.AsyncClient, settings: Settings, responder: Responder
) -> None:
    own = new_request_id()
    body = {"inputs": "x", "parameters": {"code": "worker_crash"}}
    headers = {"x-request-id": own}

    async def asked(client: httpx.AsyncClient) -> int:
        return (await client.post("/infer/refuse", json=body, headers=headers)).status_code

    assert await asked(rest) == 500
    message, request = await seen(responder, own)
    responder.answer(message, request, run=2)
    responder.answer(message, request, "worker_crash")  # repeated by a node that took over
    # Read by this gateway, so that it lies there.
    assert (await rest.post("/infer/echo", json={"inputs": "after"})).status_code == 200
    assert await asked(rest) == 200
    async with (
        running(settings) as other,
        httpx.AsyncClient(base_url=other.http, timeout=CAP_S) as client,
    ):
        assert await asked(client) == 200


async def test_callers_of_one_id_share_its_outcome(
    rest: httpx.AsyncClient, responder: Responder
) -> None:
    own = new_request_id()
    asking = [
        asyncio.create_task(
            rest.post("/infer/silent", json={"inputs": "x"}, headers={"x-request-id": own})
        )
        for _ in range(3)
    ]
    message, request = await seen(responder, own)
    responder.answer(message, request)
    answers = [answer.json() for answer in await asyncio.gather(*asking)]
    assert [answer["request_id"] for answer in answers] == [own] * 3


async def test_health_reflection_and_metrics(gateway: Gateway, rest: httpx.AsyncClient) -> None:
    assert await ready_is(rest, 200) == []
    assert (await rest.post("/infer/echo", json={"inputs": "x"})).status_code == 200
    metrics = (await rest.get("/metrics")).text
    assert 'modelmora_gateway_requests_total{code="completed",door="rest"} 1.0' in metrics
    assert "modelmora_gateway_broker_up 1.0" in metrics
    async with grpc.aio.insecure_channel(gateway.grpc) as channel:
        await health_is(channel, health_pb2.HealthCheckResponse.SERVING)
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in reflection.ServerReflectionInfo(iter([asked])):
            names = {service.name for service in answer.list_services_response.service}
    assert {"modelmora.v1.InferenceService", "grpc.health.v1.Health"} <= names
