"""Starting gateways, and waiting for what they do."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from queue import Queue
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelmora.gateway.app import Gateway
from modelmora.settings import Settings, load_settings
from tests.integration.gateway.responder import Responder

CAP_S = 60
PARTITIONS = 3


def settings_for(bootstrap: str, namespace: str, **more: Any) -> Settings:
    return load_settings(
        bootstrap_servers=bootstrap,
        namespace=namespace,
        http_port=0,
        grpc_port=0,
        topics={"partitions": PARTITIONS},
        timing={"probe_s": 0} | more.pop("timing", {}),
        **more,
    )


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Gateway]:
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(settings.model_copy(update={"data_dir": Path(folder)}))
        try:
            await gateway.start()
            yield gateway
        finally:
            await gateway.stop()


async def find(things: Queue[Any], wanted: Callable[[Any], bool]) -> Any:
    """The next thing in the queue that is wanted; the others are dropped."""
    while True:
        thing = await asyncio.to_thread(things.get, timeout=CAP_S)
        if wanted(thing):
            return thing


async def seen(responder: Responder, request_id: str) -> tuple[Any, dict[str, Any]]:
    found: tuple[Any, dict[str, Any]] = await find(
        responder.seen, lambda thing: thing[1]["request_id"] == request_id
    )
    return found


async def cancelled(responder: Responder, request_id: str) -> None:
    command = await find(responder.commands, lambda thing: thing["target"] == request_id)
    assert command["verb"] == "CANCEL"


async def health_is(channel: Any, wanted: int) -> None:
    """Wait until the health service says so."""
    stub = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="modelmora.v1.InferenceService"))
    async with asyncio.timeout(CAP_S):
        async for answer in watch:
            if answer.status == wanted:
                watch.cancel()
                return
    raise AssertionError("the health service ended")
