"""The gateway where a topic is missing that no answer needs."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.kafka import pulse
from modelmora.kafka.admin import Admin
from modelmora.kafka.topics import Topic
from tests.integration.gateway.responder import responding
from tests.integration.gateway.rig import CAP_S, running, seen, settings_for
from tests.topics import delete_topic, until


async def test_without_control_who_hangs_up_stops_no_other_caller(
    broker: EmbeddedBroker, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Once the gateway knows that the topic is gone it sends no cancel at all.
    monkeypatch.setattr(pulse, "BEAT_S", 3600)
    settings = settings_for(broker.bootstrap_servers, namespace)
    await asyncio.to_thread(Admin(settings).create)
    control = Topic.CONTROL.full(namespace)
    with responding(broker.bootstrap_servers, namespace) as responder:
        async with (
            running(settings) as gateway,
            httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as rest,
        ):
            publisher = gateway._bridge and gateway._bridge._publisher
            assert publisher
            await asyncio.to_thread(delete_topic, broker.bootstrap_servers, control)
            hanging = asyncio.create_task(
                rest.post(
                    "/infer/silent", json={"inputs": "x"}, headers={"X-Request-Id": "hangs-up"}
                )
            )
            await seen(responder, "hangs-up")
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            await until(lambda: control in publisher.parked)
            for _ in range(20):
                answer = await rest.post("/infer/echo", json={"inputs": "x"})
                assert answer.status_code == 200
            assert (await rest.get("/health/ready")).status_code == 200
            assert publisher.backlog_of([control])
