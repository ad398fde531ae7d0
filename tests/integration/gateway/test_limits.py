"""What the gateway bounds, what it tells of a request under way, and a stop that does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio
import httpx
import pytest

from modelmora.gateway.app import Gateway
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from modelmora.settings import Settings
from modelmora.wire import new_request_id
from tests.integration.gateway.responder import Responder
from tests.integration.gateway.rig import CAP_S, cancelled, running, seen, settings_for


def limited(settings: Settings, **more: Any) -> Settings:
    return settings_for(settings.bootstrap_servers or "", settings.namespace, **more)


@pytest.mark.row("F14")
async def test_limits_are_told(settings: Settings, responder: Responder) -> None:
    limits = {"gateway_waiting": 1, "request_bytes": 2000, "gateway_bytes": 6000}
    async with (
        running(limited(settings, limits=limits)) as gateway,
        httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as rest,
        grpc.aio.insecure_channel(gateway.grpc) as channel,
    ):
        large = await rest.post("/infer/echo", json={"inputs": "x" * 2000})
        assert (large.status_code, large.json()["code"]) == (413, "too_large")
        held = await rest.post("/infer/echo", json={"inputs": "x" * 6000})
        assert (held.status_code, held.json()["code"]) == (503, "busy")
        stub = pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Infer(pb.InferRequest(model="echo", inputs=[pb.Content(text="x" * 2000)]))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        responder.register("narrow", max_inputs=2)
        inputs = {"inputs": ["x"] * 3}
        while (many := await rest.post("/infer/narrow", json=inputs)).status_code == 404:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert (many.status_code, many.json()["code"]) == (413, "too_large")
        assert "at most 2 of this model's fit" in many.json()["detail"]
        own = new_request_id()
        call = stub.Infer(
            pb.InferRequest(request_id=own, model="silent", inputs=[pb.Content(text="x")])
        )
        message, request = await seen(responder, own)
        second = await rest.post("/infer/echo", json={"inputs": "x"})
        assert (second.status_code, second.json()["code"]) == (503, "busy")
        responder.answer(message, request)
        assert (await call).request_id == own
        assert (await rest.post("/infer/echo", json={"inputs": "x"})).status_code == 200


@pytest.mark.parametrize("header", [dict, lambda: {"x-request-id": new_request_id()}])
async def test_accepted_is_heard(
    header: Callable[[], dict[str, str]],
    gateway: Gateway,
    rest: httpx.AsyncClient,
    responder: Responder,
) -> None:
    mark = f"mark-{new_request_id()}"
    asking = asyncio.create_task(
        rest.post("/infer/silent", json={"inputs": mark}, headers=header())
    )
    while True:
        message, request = await asyncio.to_thread(responder.seen.get, timeout=CAP_S)
        if request["inputs"] == [mark]:
            break
    responder.accept(message, request)
    async with asyncio.timeout(CAP_S):
        while (
            "modelmora_gateway_accepted_seconds_count 1.0" not in (await rest.get("/metrics")).text
        ):
            assert not asking.done()
    responder.answer(message, request)
    assert (await asking).status_code == 200


async def test_a_stop_without_time_refuses_and_cancels(
    settings: Settings, responder: Responder
) -> None:
    own = new_request_id()
    async with running(limited(settings, timing={"drain_s": 0})) as gateway:
        async with httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as rest:
            asking = asyncio.create_task(
                rest.post("/infer/silent", json={"inputs": "x"}, headers={"x-request-id": own})
            )
            await seen(responder, own)
            stopping = asyncio.create_task(gateway.stop())
            answer = await asking
            assert (answer.status_code, answer.json()["code"]) == (503, "stopping")
            await stopping
        await cancelled(responder, own)
