"""What a caller is told when the time is over and outcomes cannot be read."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from modelmora.broker import EmbeddedBroker
from modelmora.gateway.app import Gateway
from modelmora.gateway.calls import replies
from modelmora.kafka.admin import Admin
from tests.integration.gateway.responder import responding
from tests.integration.gateway.rig import CAP_S, running, seen, settings_for
from tests.nodes import frozen
from tests.topics import until

TAILS = 4


def looking(gateway: Gateway) -> bool:
    assert gateway._bridge
    return gateway._bridge._replies._looking.locked()


async def test_an_outcome_that_lies_there_unread_is_read_before_time_is_called(
    broker: EmbeddedBroker, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, held = asyncio.Event(), set[object]()
    getmany = AIOKafkaConsumer.getmany

    async def hold(self: AIOKafkaConsumer, **options: Any) -> Any:
        held.add(self)
        await opened.wait()
        return await getmany(self, **options)

    settings = settings_for(broker.bootstrap_servers, namespace)
    await asyncio.to_thread(Admin(settings).create)
    with responding(broker.bootstrap_servers, namespace):
        async with (
            running(settings) as gateway,
            httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as rest,
        ):
            assert (await rest.post("/infer/echo", json={"inputs": "x"})).status_code == 200
            monkeypatch.setattr(AIOKafkaConsumer, "getmany", hold)
            await until(lambda: len(held) == TAILS)
            asked = {"inputs": "y", "timeout_ms": 20}
            asking = asyncio.create_task(rest.post("/infer/echo", json=asked))
            await until(lambda: looking(gateway))
            opened.set()
            answer = await asking
            assert (answer.status_code, answer.json()["outputs"]) == (200, ["y"])


async def test_where_nobody_knows_whether_there_is_an_outcome_that_is_said(
    mortal: EmbeddedBroker, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "READ_S", 1.0)
    settings = settings_for(mortal.bootstrap_servers, namespace)
    await asyncio.to_thread(Admin(settings).create)
    with responding(mortal.bootstrap_servers, namespace) as responder:
        async with (
            running(settings) as gateway,
            httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as rest,
        ):
            asked = {"inputs": "x", "timeout_ms": 3_000}
            asking = asyncio.create_task(
                rest.post("/infer/silent", json=asked, headers={"X-Request-Id": "unknown"})
            )
            await seen(responder, "unknown")
            with frozen(mortal.pid or 0):
                answer = await asking
            assert (answer.status_code, answer.json()["code"]) == (503, "broker_unreachable")
