"""What strikes a node unseen, and is told by its health."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from modelmora.broker import EmbeddedBroker
from tests.nodes import PARTITIONS, NodeProcess
from tests.programs import eventually
from tests.skewed import SkewedNode
from tests.topics import create_topic, delete_topic

pytestmark = pytest.mark.faults
HOUR_S = 3600.0
CAP_S = 60.0


def said(node: NodeProcess) -> dict[str, Any]:
    """All that it says, whatever its status is."""
    found: dict[str, Any] = httpx.get(node.facts["node_http"] + "/health", timeout=30).json()
    return found


def test_a_clock_that_jumps(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> None:
    servers = broker.bootstrap_servers
    with SkewedNode(servers, namespace, tmp_path, "fast", HOUR_S) as node:
        eventually(lambda: "ahead of" in said(node)["degraded"].get("clock", ""), "fast", CAP_S)
        node.jump()
        eventually(lambda: "behind" in said(node)["degraded"].get("clock", ""), "slow", CAP_S)
        assert said(node)["status"] == "ready"
        assert node.stop() == 0


def test_topics_that_are_changed_and_a_zygote_that_is_frozen(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    servers = broker.bootstrap_servers
    with NodeProcess(servers, namespace, tmp_path) as node:
        assert said(node)["degraded"] == {}
        results, low = f"{namespace}.results", f"{namespace}.requests.low"
        admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        wider = [NewPartitions(results, PARTITIONS + 1)]
        for made in admin.create_partitions(wider).values():
            made.result(30)
        eventually(lambda: results in said(node)["degraded"].get("topics", ""), "wider", CAP_S)
        delete_topic(servers, low)
        create_topic(servers, low, PARTITIONS, message_timestamp_type="LogAppendTime")
        anew = f"{low} was made anew"
        eventually(lambda: anew in said(node)["degraded"].get("topics", ""), "anew", CAP_S)
        assert node.zygote
        os.kill(node.zygote, signal.SIGSTOP)
        silent = "the zygote has not answered"
        eventually(lambda: silent in said(node)["why"].get("workers", ""), "frozen", CAP_S)
        eventually(lambda: "workers" not in said(node)["why"], "replaced", CAP_S)
        assert node.stop() == 0
