"""A hall without Kafka, and a caller of the REST door in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from tests.unit.gateway.fakes import LIMIT, FakeHall


@pytest.fixture
def hall() -> FakeHall:
    return FakeHall()


@pytest.fixture
async def client(hall: FakeHall) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(hall, Metrics(), LIMIT), raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://gateway",
        headers={"content-type": "application/json"},
    ) as client:
        yield client
