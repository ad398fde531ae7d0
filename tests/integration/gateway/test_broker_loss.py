"""The gateway while its broker hangs, is gone, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import grpc.aio
import httpx
import pytest
from grpc_health.v1 import health_pb2

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.admin import Admin
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from tests.integration.gateway.responder import Responder, responding
from tests.integration.gateway.rig import CAP_S, cancelled, health_is, running, settings_for


async def test_a_broker_that_hangs_then_stops_then_returns(
    mortal: EmbeddedBroker, namespace: str
) -> None:
    settings = settings_for(mortal.bootstrap_servers, namespace)
    await asyncio.to_thread(Admin(settings).create)
    with responding(mortal.bootstrap_servers, namespace) as responder:
        async with (
            running(settings) as gateway,
            grpc.aio.insecure_channel(gateway.grpc) as channel,
            httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as rest,
        ):
            await through_a_hang(mortal, rest, channel, responder)
            await through_a_stop(mortal, rest, channel)


async def through_a_hang(
    own: EmbeddedBroker, rest: httpx.AsyncClient, channel: Any, responder: Responder
) -> None:
    assert own.pid
    os.kill(own.pid, signal.SIGSTOP)
    try:
        given_up = await rest.post("/infer/silent", json={"inputs": "x"})
        assert (given_up.status_code, given_up.json()["code"]) == (503, "broker_unreachable")
        assert given_up.headers["retry-after"] == "2"
    finally:
        os.kill(own.pid, signal.SIGCONT)
    await cancelled(responder, given_up.json()["request_id"])
    await health_is(channel, health_pb2.HealthCheckResponse.SERVING)


async def through_a_stop(own: EmbeddedBroker, rest: httpx.AsyncClient, channel: Any) -> None:
    await own.stop_async()
    await health_is(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
    assert (await rest.get("/health/ready")).status_code == 503
    assert (await rest.get("/health/live")).status_code == 200
    assert (await rest.get("/health")).json()["status"] == "unavailable"
    refused = await rest.post("/infer/echo", json={"inputs": "x"})
    assert (refused.status_code, refused.json()["code"]) == (503, "broker_unreachable")
    stub = pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Infer(pb.InferRequest(model="echo", inputs=[pb.Content(text="x")]))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await own.start_async()
    await health_is(channel, health_pb2.HealthCheckResponse.SERVING)
    until = time.monotonic() + CAP_S
    while True:
        answer = await rest.post("/infer/echo", json={"inputs": "x"})
        # A broker that has just started may take longer to acknowledge than a caller waits.
        if answer.status_code == 200 or time.monotonic() > until:
            break
        assert answer.json()["code"] == "broker_unreachable", answer.text
    assert answer.status_code == 200, answer.text
