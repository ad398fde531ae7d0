"""Two gateways change one registry at once: the log decides, and both say the same of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from modelmora.gateway.app import Gateway
from modelmora.settings import Settings
from tests.integration.gateway.rig import CAP_S, running

MODEL = {"name": "raced", "task": "echo", "source": "/nowhere"}
V1 = "/models/raced/versions/1"


@pytest.fixture
async def doors(gateway: Gateway, settings: Settings) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with running(settings) as second:
        clients = [
            httpx.AsyncClient(base_url=each.http, timeout=CAP_S) for each in (gateway, second)
        ]
        yield clients
        for client in clients:
            await client.aclose()


async def _agree(doors: list[httpx.AsyncClient]) -> str:
    """The ETag that both tell, once both have read as far."""
    async with asyncio.timeout(CAP_S):
        while True:
            seen = {str((await door.get(V1)).headers.get("etag", "")) for door in doors}
            if len(seen) == 1 and "" not in seen:
                return str(seen.pop())
            await asyncio.sleep(0)


async def test_of_two_writers_at_once_one_wins_everywhere(doors: list[httpx.AsyncClient]) -> None:
    made = await asyncio.gather(
        *(door.post("/models", json=MODEL | {"source": f"/{n}"}) for n, door in enumerate(doors))
    )
    assert sorted(each.status_code for each in made) == [201, 409]
    for number in range(10):
        etag = await _agree(doors)
        won = await asyncio.gather(
            *(
                door.patch(
                    V1, json={"metadata": {"by": f"{number}/{n}"}}, headers={"if-match": etag}
                )
                for n, door in enumerate(doors)
            )
        )
        codes = [each.status_code for each in won]
        assert sorted(codes) in ([200, 409], [200, 412]), codes
        await _agree(doors)
        winner = codes.index(200)
        for door in doors:
            assert (await door.get(V1)).json()["metadata"] == {"by": f"{number}/{winner}"}
    assert (await doors[0].delete(V1)).status_code == 200
