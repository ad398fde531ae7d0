"""A gateway, a responder behind it, and clients of both doors."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio
import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.gateway.app import Gateway
from modelmora.kafka.admin import Admin
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from modelmora.settings import Settings
from tests.integration.gateway.responder import Responder, responding
from tests.integration.gateway.rig import CAP_S, running, settings_for


@pytest.fixture(scope="module")
def settings(broker: EmbeddedBroker) -> Settings:
    settings = settings_for(broker.bootstrap_servers, f"t{uuid.uuid4().hex[:12]}")
    Admin(settings).create()
    return settings


@pytest.fixture(scope="module")
def responder(settings: Settings) -> Iterator[Responder]:
    assert settings.bootstrap_servers
    with responding(settings.bootstrap_servers, settings.namespace) as responder:
        yield responder


@pytest.fixture
async def gateway(settings: Settings, responder: Responder) -> AsyncIterator[Gateway]:
    async with running(settings) as gateway:
        yield gateway


@pytest.fixture
async def rest(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as client:
        yield client


@pytest.fixture
async def stub(gateway: Gateway) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(gateway.grpc) as channel:
        yield pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
