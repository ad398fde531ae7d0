"""A node that is started before its broker, and one whose broker never comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from modelmora.broker import EmbeddedBroker
from tests.nodes import NodeProcess
from tests.programs import alive, eventually


def readiness(node: NodeProcess) -> Any:
    """The answer of `/health/ready`, whatever its status."""
    return httpx.get(node.facts["node_http"] + "/health/ready", trust_env=False).json()


def test_it_prepares_what_it_can_before_its_broker_is_there(
    mortal: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    settings = {"TIMING__BROKER_S": 3600}
    node = NodeProcess(mortal.bootstrap_servers, namespace, tmp_path, settings=settings)
    mortal.stop()
    node.start()
    try:
        eventually(lambda: node.facts.get("zygote"), "the zygote runs")
        found = readiness(node)
        assert found["waiting_for"] == "broker"
        assert found["checks"]["workers"]
        zygote = node.zygote
        mortal.start()
        node.wait_ready()
        assert node.zygote == zygote
        assert zygote
        assert alive(zygote)
        assert readiness(node)["waiting_for"] is None
        assert node.stop() == 0
    finally:
        node.kill()


def test_without_a_broker_it_says_so_and_ends_with_4(tmp_path: Path) -> None:
    node = NodeProcess("127.0.0.1:1", "alone", tmp_path, settings={"TIMING__BROKER_S": 1}).start()
    assert node.wait() == 4
    assert "modelmora: no broker answers at 127.0.0.1:1; is it running" in node.tail()
