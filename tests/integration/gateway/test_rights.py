"""Rights told at one gateway count at every other, also at one that starts later."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import httpx
import pytest

from modelmora.gateway.app import Gateway
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from modelmora.settings import Settings
from tests.integration.gateway.rig import CAP_S, running

ECHO = "/infer/echo"


def door(gateway: Gateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S, trust_env=False)


async def until(client: httpx.AsyncClient, status: int) -> httpx.Response:
    async with asyncio.timeout(CAP_S):
        while True:
            answer = await client.post(ECHO, json={"inputs": "x"})
            if answer.status_code == status:
                return answer
            assert answer.status_code in (200, 403), answer.text


async def test_what_is_told_at_one_gateway_counts_at_all(
    gateway: Gateway, settings: Settings
) -> None:
    async with running(settings) as second, door(gateway) as one, door(second) as two:
        assert (await two.post(ECHO, json={"inputs": "x"})).status_code == 200
        for path, body in (
            ("/grants", {"principal": "local", "roles": ["admin"]}),
            ("/roles", {"name": "off", "rules": [{"verbs": ["infer"], "effect": "deny"}]}),
            ("/grants", {"principal": "loc*", "roles": ["off"]}),
        ):
            assert (await one.put(path, json=body)).status_code == 200
        told = (await until(two, 403)).json()
        assert told["detail"] == "local may not infer echo in lane normal: role off denies it"
        async with grpc.aio.insecure_channel(second.grpc) as channel:
            stub = pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Infer(pb.InferRequest(model="echo", inputs=[pb.Content(text="x")]))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        job = await two.post(f"{ECHO}/async", json={"inputs": "x"})
        assert (job.status_code, job.json()["code"]) == (403, "forbidden")
        async with running(settings) as third, door(third) as three:
            assert (await three.post(ECHO, json={"inputs": "x"})).status_code == 403
            taken = {"principal": "loc*", "roles": []}
            assert (await three.put("/grants", json=taken)).status_code == 200
        await until(two, 200)
        await until(one, 200)


async def test_settings_count_at_the_gateway_that_has_them(settings: Settings) -> None:
    own = {
        "namespace": f"{settings.namespace}.own",
        "access": settings.access.model_copy(update={"grants": {"local": ("auditor",)}}),
    }
    async with running(settings.model_copy(update=own)) as shut, door(shut) as one:
        assert (await one.post(ECHO, json={"inputs": "x"})).status_code == 403
        grant = {"principal": "local", "roles": ["admin"]}
        assert (await one.put("/grants", json=grant)).status_code == 403
        assert (await one.get("/models")).status_code == 200
