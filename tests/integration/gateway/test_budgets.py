"""Budgets of several gateways: one for all of them, also for one that was killed and comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import httpx

from modelmora.access.budgets import SHARE
from modelmora.gateway.app import Gateway
from modelmora.settings import Settings
from tests.integration.gateway.responder import Responder
from tests.integration.gateway.rig import CAP_S, running, settings_for

AMOUNT, BURST = 120, 40


def limited(settings: Settings, name: str) -> Settings:
    rate = {"amount": AMOUNT, "per": "minute", "burst": BURST}
    access = {"budgets": {name: {"requests": rate}}}
    return settings_for(settings.bootstrap_servers or "", settings.namespace, access=access)


async def greedy(gateway: Gateway, tries: int) -> Counter[int]:
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
