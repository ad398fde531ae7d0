"""The door that is measured alone answers like one before a real hall."""

from __future__ import annotations

from typing import Any

import httpx

from modelmora.bench.beside.door import Answered
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics


async def test_it_answers_without_topics() -> None:
    hall: Any = Answered("hello")
    transport = httpx.ASGITransport(create_app(hall, Metrics(), 1000))
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        answer = await client.post("/infer/echo", json={"inputs": "x"})
    assert (answer.status_code, answer.json()["outputs"]) == (200, ["hello"])
