"""What a node answers about its health."""

from __future__ import annotations

import httpx
import pytest

from modelmora.node.health import NodeMetrics, health_app


@pytest.mark.parametrize(
    ("group", "partitions", "status", "code"),
    [(True, 4, "ready", 200), (True, 0, "standby", 200), (False, 0, "not ready", 503)],
)
async def test_a_node_without_partitions_is_ready_on_standby(
    group: bool, partitions: int, status: str, code: int
) -> None:
    facts = {"waiting_for": None, "partitions": partitions}
    app = health_app(lambda: {"group": group}, lambda: facts, list, NodeMetrics())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://node"
    ) as client:
        answer = await client.get("/health/ready")
    assert answer.status_code == code
    assert answer.json() == {"status": status, "checks": {"group": group}, **facts}
