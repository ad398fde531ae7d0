"""`python -m modelmora.gateway`: what it reports, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import grpc.aio
import httpx
import pytest
from grpc_health.v1 import health_pb2

from modelmora.gateway.app import UNWATCHED, Gateway, serve
from modelmora.settings import Settings
from modelmora.wire import new_request_id
from tests.integration.gateway.responder import Responder
from tests.integration.gateway.rig import CAP_S, health_is, seen


def process_environment(settings: Settings, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "MODELMORA_BOOTSTRAP_SERVERS": settings.bootstrap_servers or "",
        "MODELMORA_NAMESPACE": settings.namespace,
        "MODELMORA_HTTP_PORT": "0",
        "MODELMORA_GRPC_PORT": "0",
        **more,
    }


async def start_process(environment: dict[str, str], fd: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "modelmora.gateway",
        env=environment,
        pass_fds=(fd,) if fd >= 0 else (),
        stderr=asyncio.subprocess.PIPE,
    )


async def test_the_process_reports_and_lets_waiting_callers_end(
    settings: Settings, responder: Responder
) -> None:
    reading, writing = os.pipe()
    environment = process_environment(settings, MODELMORA_NOTIFY_FD=str(writing))
    process = await start_process(environment, writing)
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            facts = json.loads(await asyncio.to_thread(pipe.readline))
        assert facts["ready"] is True
        own = new_request_id()
        async with httpx.AsyncClient(base_url=facts["http"], timeout=CAP_S) as client:
            asking = asyncio.create_task(
                client.post("/infer/silent", json={"inputs": "x"}, headers={"x-request-id": own})
            )
            message, request = await seen(responder, own)
            async with grpc.aio.insecure_channel(facts["grpc"]) as channel:
                process.terminate()
                await health_is(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
            refused = await client.post("/infer/echo", json={"inputs": "x"})
            assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
            responder.answer(message, request)
            assert (await asking).status_code == 200
        _, errors = await asyncio.wait_for(process.communicate(), CAP_S)
        assert process.returncode == 0, errors
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_no_broker_is_one_line_and_exit_4(settings: Settings) -> None:
    environment = process_environment(
        settings, MODELMORA_BOOTSTRAP_SERVERS="127.0.0.1:1", MODELMORA_TIMING__BROKER_S="1"
    )
    process = await start_process(environment, -1)
    _, errors = await asyncio.wait_for(process.communicate(), CAP_S)
    assert process.returncode == 4
    assert errors.decode().splitlines() == [
        "modelmora: no broker answers at 127.0.0.1:1; is it running, is the address right?"
    ]


async def test_a_taken_port_is_exit_2(settings: Settings, gateway: Gateway) -> None:
    for variable, taken in (
        ("MODELMORA_HTTP_PORT", gateway.http),
        ("MODELMORA_GRPC_PORT", gateway.grpc),
    ):
        port = taken.rpartition(":")[2]
        process = await start_process(process_environment(settings, **{variable: port}), -1)
        _, errors = await asyncio.wait_for(process.communicate(), CAP_S)
        assert process.returncode == 2
        assert f"127.0.0.1:{port} cannot be listened on" in errors.decode().splitlines()[-1]


async def test_a_gateway_that_nobody_watches_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Gateway, "_follow", staticmethod(fail))
    async with asyncio.timeout(CAP_S):
        assert await serve(settings) == UNWATCHED
