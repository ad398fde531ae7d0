"""Budgets of several gateways: one for all of them, also for one that was killed and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelmora.access.budgets import SHARE
from modelmora.budgets.sharing import HELLO_S, TELL_S
from modelmora.gateway.app import Gateway
from modelmora.settings import Settings
from modelmora.wire import new_request_id
from tests.integration.gateway.responder import Responder
from tests.integration.gateway.rig import CAP_S, running, settings_for
from tests.nodes import GatewayProcess

AMOUNT, BURST = 120, 40


def limited(settings: Settings, name: str) -> Settings:
    rate = {"amount": AMOUNT, "per": "minute", "burst": BURST}
    access = {"budgets": {name: {"requests": rate}}}
    return settings_for(settings.bootstrap_servers or "", settings.namespace, access=access)


async def greedy(gateway: Gateway | GatewayProcess, tries: int) -> Counter[int]:
    """How so many requests end that come as fast as they can."""
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S, limits=limits) as client:
        answers = await asyncio.gather(
            *(client.post("/infer/echo", json={"inputs": "x"}) for _ in range(tries))
        )
    return Counter(each.status_code for each in answers)


async def until_they_know(*gateways: Gateway) -> None:
    """Each of them counts all others."""
    wanted = len(gateways) - 1
    async with asyncio.timeout(CAP_S):
        while any(buckets_of(each).others != wanted for each in gateways):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def buckets_of(gateway: Gateway) -> Any:
    bridge = gateway._bridge
    assert bridge
    return bridge.limiter._buckets


async def test_two_gateways_have_one_budget(settings: Settings, responder: Responder) -> None:
    assert responder
    told, loop = limited(settings, "two"), asyncio.get_running_loop()
    async with running(told) as one, running(told) as two:
        await until_they_know(one, two)
        began, passed = loop.time(), 0
        for _ in range(3):
            found = await asyncio.gather(greedy(one, BURST), greedy(two, BURST))
            passed += sum(each[200] for each in found)
            assert all(each.keys() <= {200, 429} for each in found)
        most = BURST + (loop.time() - began) * AMOUNT / 60 + SHARE * AMOUNT
        assert BURST <= passed <= most


async def test_what_was_used_is_owed_to_a_gateway_that_comes_later(
    settings: Settings, responder: Responder
) -> None:
    assert responder
    told, loop = limited(settings, "later"), asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(told))
        began = loop.time()
        passed = (await greedy(one, 2 * BURST))[200]
        assert passed >= BURST
        await stack.aclose()
        two = await stack.enter_async_context(running(told))
        passed += (await greedy(two, 2 * BURST))[200]
        assert passed <= BURST + (loop.time() - began) * AMOUNT / 60 + 1


@pytest.mark.faults
async def test_a_gateway_that_is_killed_gains_nobody_more(
    settings: Settings, responder: Responder, tmp_path: Path
) -> None:
    assert responder
    loop = asyncio.get_running_loop()
    rate = {"amount": AMOUNT, "per": "minute", "burst": BURST}
    told = {"ACCESS__BUDGETS": json.dumps({"killed": {"requests": rate}})}
    servers = settings.bootstrap_servers or ""

    def process(name: str) -> GatewayProcess:
        folder = tmp_path / name
        folder.mkdir()
        return GatewayProcess(servers, settings.namespace, folder, told)

    with process("one") as one, process("two") as two:
        for each in (one, two):
            await asyncio.to_thread(each.wait_ready)
        await asyncio.sleep(HELLO_S)  # each has heard of the other
        began, passed, refused = loop.time(), 0, 0
        for _ in range(3):
            found = await asyncio.gather(greedy(one, BURST), greedy(two, BURST))
            passed += sum(each[200] for each in found)
            refused += sum(each[429] for each in found)
            one.kill()
            await asyncio.to_thread(one.start().wait_ready)
        passed += (await greedy(one, BURST))[200]
        most = BURST + (loop.time() - began) * AMOUNT / 60 + SHARE * AMOUNT
        assert BURST <= passed <= most
        assert refused


async def test_a_budget_that_is_told_while_they_run_counts_at_both(
    settings: Settings, responder: Responder
) -> None:
    assert responder
    plain = settings_for(settings.bootstrap_servers or "", settings.namespace)
    loop = asyncio.get_running_loop()
    rate = {"amount": AMOUNT, "per": "minute", "burst": BURST}
    async with running(plain) as one, running(plain) as two:
        async with httpx.AsyncClient(base_url=one.http, timeout=CAP_S) as client:
            told = await client.put("/budgets", json={"name": "b", "budget": {"requests": rate}})
        assert [each["told_by"] for each in told.json()["budgets"]] == ["registry"]
        await until_they_know(one, two)
        began, passed = loop.time(), 0
        for _ in range(2):
            found = await asyncio.gather(greedy(one, BURST), greedy(two, BURST))
            passed += sum(each[200] for each in found)
        most = BURST + (loop.time() - began) * AMOUNT / 60 + SHARE * AMOUNT
        assert BURST <= passed <= most
        async with httpx.AsyncClient(base_url=two.http, timeout=CAP_S) as client:
            await client.put("/budgets", json={"name": "b", "budget": None})
            async with asyncio.timeout(CAP_S):
                while (await greedy(one, BURST))[429]:
                    pass


async def test_an_id_that_is_asked_again_is_charged_once(
    settings: Settings, responder: Responder
) -> None:
    """As a request, under way and ended, and as a job, at either gateway."""
    assert responder
    rate = {"amount": 1, "per": "minute", "burst": 10}
    access = {"budgets": {"again": {"requests": rate}}}
    told = settings_for(settings.bootstrap_servers or "", settings.namespace, access=access)
    async with running(told) as one, running(told) as two, contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=each.http, timeout=CAP_S))
            for each in (one, two)
        ]
        for kind in ("/infer/echo", "/infer/echo/async"):
            headers = {"x-request-id": new_request_id()}
            for client in (clients[0], *clients, *clients):
                answer = await client.post(kind, json={"inputs": "x"}, headers=headers)
                assert answer.status_code in (200, 202)
        headers = {"x-request-id": new_request_id()}
        ask = partial(clients[0].post, "/infer/echo", json={"inputs": "x"}, headers=headers)
        await asyncio.gather(*(ask() for _ in range(4)))
        await asyncio.sleep(2 * TELL_S)  # each has told the other
        for each in (one, two):
            (bucket,) = buckets_of(each)
            assert 7 <= bucket.left(time.monotonic()) < 9
