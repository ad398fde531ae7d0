"""What a node answers about its health."""

from __future__ import annotations

import re

import httpx
import pytest

from modelmora.node.health import health_app
from modelmora.node.metrics import NodeMetrics
from modelmora.telemetry.health import Sign, judge


@pytest.mark.parametrize(
    ("group", "partitions", "status", "code"),
    [(True, 4, "ready", 200), (True, 0, "standby", 200), (False, 0, "not ready", 503)],
)
async def test_a_node_without_partitions_is_ready_on_standby(
    group: bool, partitions: int, status: str, code: int
) -> None:
    facts = {"waiting_for": None, "partitions": partitions}
    verdict = judge([Sign("group", None if group else "unknown")])
    app = health_app(lambda: verdict, lambda: facts, list, NodeMetrics())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://node"
    ) as client:
        answer = await client.get("/health/ready")
    assert answer.status_code == code
    told = {"why": {} if group else {"group": "unknown"}, "degraded": {}, "ages": {}}
    assert answer.json() == {"status": status, "checks": {"group": group}, **told, **facts}


@pytest.mark.parametrize(("waiting_for", "code"), [("partitions", 503), (None, 200)])
async def test_it_has_started_once_it_waits_for_nothing(waiting_for: str | None, code: int) -> None:
    facts = {"waiting_for": waiting_for, "partitions": 0}
    unwell = judge([Sign("broker", "it does not answer")])
    app = health_app(lambda: unwell, lambda: facts, list, NodeMetrics())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://node"
    ) as client:
        answer = await client.get("/health/started")
    assert answer.status_code == code
    assert answer.json() == {"started": code == 200, "waiting_for": waiting_for}


async def test_the_first_page_says_how_the_node_is_and_what_it_serves() -> None:
    row = {"name": "<b>", "version": "1", "state": "cold", "waiting": 3}
    app = health_app(
        lambda: judge([Sign("broker"), Sign("group", "<u>"), Sign("disk", "full", needed=False)]),
        lambda: {"waiting_for": "<i>", "partitions": 1},
        lambda: [row],
        NodeMetrics(),
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://node"
    ) as client:
        page = await client.get("/")
        assert page.status_code == 200
        for said in (
            "not ready",
            "group: &lt;u&gt;",
            "full",
            "1 partition ",
            "&lt;b&gt;",
            "&lt;i&gt;",
        ):
            assert said in page.text
        for link in re.findall(r'href="(/[^"]*)"', page.text):
            assert (await client.get(link)).status_code in (200, 503)
