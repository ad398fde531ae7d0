"""The gateway while its topics grow, vanish, come back, and hold what nobody can read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from modelmora.broker import EmbeddedBroker
from modelmora.gateway.app import Gateway
from modelmora.kafka.admin import Admin
from modelmora.settings import Settings
from modelmora.wire import new_request_id
from tests.integration.gateway.responder import (
    REPLY_PARTITION,
    Responder,
    partitioner_of,
    responding,
)
from tests.integration.gateway.rig import CAP_S, PARTITIONS, find, running, seen, settings_for
from tests.topics import delete_topic, produce_unreadable, until

WIDE = 4 * PARTITIONS


@pytest.fixture
def settings(broker: EmbeddedBroker, namespace: str) -> Settings:
    """Topics of the test's own, which it may break."""
    settings = settings_for(broker.bootstrap_servers, namespace)
    Admin(settings).create()
    return settings


@contextlib.asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    async with (
        running(settings) as gateway,
        httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as client,
    ):
        yield gateway, client


async def echo(client: httpx.AsyncClient, text: str = "x", own: str | None = None) -> Any:
    """The request's id and its outputs."""
    headers = {"x-request-id": own} if own else {}
    answer = await client.post(
        "/infer/echo", json={"inputs": text, "timeout_ms": 20_000}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["request_id"], answer.json()["outputs"]


def widen(settings: Settings, *topics: str) -> None:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    names = [f"{settings.namespace}.{topic}" for topic in topics]
    for future in admin.create_partitions([NewPartitions(name, WIDE) for name in names]).values():
        future.result(30)


async def reply_partition(responder: Responder, request_id: str) -> int:
    message, _ = await seen(responder, request_id)
    return int(dict(message.headers())[REPLY_PARTITION])


@pytest.mark.parametrize(
    "topics",
    [pytest.param(("results",), marks=pytest.mark.faults), ("results", "progress")],
    ids=" ".join,
)
async def test_no_call_times_out_when_partitions_are_added(
    settings: Settings, responder: Responder, topics: tuple[str, ...]
) -> None:
    async with asking(settings) as (_, client):
        before, _ = await echo(client)
        mine = partitioner_of(before, PARTITIONS)
        await asyncio.to_thread(widen, settings, *topics)
        fitting = 0
        async with asyncio.timeout(CAP_S):
            while fitting < 20:
                last, _ = await echo(client)
                fitting = fitting + 1 if partitioner_of(last, WIDE) == mine else 0
        assert await reply_partition(responder, before) == mine
        assert await reply_partition(responder, last) == mine


async def test_outcomes_are_found_by_another_count_than_they_were_written(
    settings: Settings, responder: Responder
) -> None:
    own = "order-1"
    while partitioner_of(own, PARTITIONS) == partitioner_of(own, WIDE):
        own += "1"
    async with asking(settings) as (_, client):
        assert (await echo(client, "first", own))[1] == ["first"]
        await asyncio.to_thread(widen, settings, "results")
        async with asking(settings) as (_, other):
            assert (await echo(other, "second", own))[1] == ["first"]
        async with asyncio.timeout(CAP_S):
            while partitioner_of((await echo(client))[0], WIDE) >= PARTITIONS:
                pass
        assert (await echo(client, "third", own))[1] == ["first"]


async def test_results_may_be_deleted_and_made_anew(
    settings: Settings, responder: Responder
) -> None:
    name = f"{settings.namespace}.results"
    async with asking(settings) as (_, client):
        for _ in range(3):
            await echo(client)
        await asyncio.to_thread(delete_topic, settings.bootstrap_servers or "", name)
        await ready(client, f"there is no topic {name}")
        refused = await client.post("/infer/echo", json={"inputs": "x"})
        assert (refused.status_code, refused.json()["code"]) == (503, "broker_unreachable")
        await asyncio.to_thread(Admin(settings).create)
        await ready(client)
        for _ in range(3):
            await echo(client)


async def ready(client: httpx.AsyncClient, *faults: str) -> None:
    """Wait until these are all the gateway's faults."""
    async with asyncio.timeout(CAP_S):
        while (await client.get("/health/ready")).json()["faults"] != list(faults):
            pass


async def test_without_control_only_cancels_are_lost(
    settings: Settings, responder: Responder
) -> None:
    name = f"{settings.namespace}.control"
    async with asking(settings) as (gateway, client):
        await asyncio.to_thread(delete_topic, settings.bootstrap_servers or "", name)
        assert gateway._bridge
        pulse = gateway._bridge._pulse
        await until(lambda: name not in pulse.shapes)
        hanging_up = asyncio.create_task(client.post("/infer/silent", json={"inputs": "x"}))
        await find(responder.seen, lambda thing: thing[1]["model"] == "silent")
        hanging_up.cancel()
        for _ in range(3):
            await echo(client)
        await ready(client)


async def test_a_result_that_cannot_be_read_stops_nobody(
    settings: Settings, responder: Responder
) -> None:
    servers, name = settings.bootstrap_servers or "", f"{settings.namespace}.results"
    async with asking(settings) as (_, client):
        own, _ = await echo(client, "first", new_request_id())
        for partition in range(PARTITIONS):
            await produce_unreadable(servers, name, partition)
        await echo(client)
        for again in (own, "without-a-time"):
            await echo(client, "second", again)
        assert (await echo(client, "third", own))[1] == ["first"]
        await ready(client)


@pytest.fixture
def responder(settings: Settings) -> Any:
    with responding(settings.bootstrap_servers or "", settings.namespace) as responder:
        yield responder
