"""MiraVeja's door on a real gRPC server before a hall that is none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.metrics import Metrics
from modelmora.settings import Purposes
from tests.miraveja import Client
from tests.unit.gateway.fakes import FakeHall
from tests.unit.gateway.miraveja.rig import ANSWERS, SEES, TASKS


@pytest.fixture
def hall() -> FakeHall:
    hall = FakeHall()
    for name, task in TASKS.items():
        hall.registry.register(name, task, file_facts=SEES if name == "eyes" else "")
    hall.answers = {f"{name}@1": outputs for name, outputs in ANSWERS.items()}
    return hall


@pytest.fixture
def purposes() -> Purposes:
    return Purposes()


@pytest.fixture
async def address(hall: FakeHall, purposes: Purposes) -> AsyncIterator[str]:
    server = RpcServer(hall, Metrics(), 1_000_000, purposes=purposes)
    try:
        yield f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
    finally:
        await server.stop(0)


@pytest.fixture
async def channel(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel


@pytest.fixture(scope="module")
def client() -> Client:
    return Client()
