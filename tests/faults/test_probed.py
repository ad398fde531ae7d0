"""Six faults that nobody asks about: each is told by a node or by the gateway that probes it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.acls import Component, Operation
from modelmora.kafka.denied import on_topic
from tests.integration.acl_rig import Estate
from tests.integration.conftest import guarded
from tests.integration.test_acls import estate
from tests.nodes import PARTITIONS, GatewayProcess, NodeProcess
from tests.programs import eventually
from tests.skewed import SkewedNode
from tests.topics import create_topic, delete_topic

__all__ = ["estate", "guarded"]

pytestmark = pytest.mark.faults
HOUR_S = 3600.0
CAP_S = 90.0
AS_SHIPPED = {"TIMING__SESSION_TIMEOUT_S": 10, "TIMING__PROBE_S": 10}
ANSWERED = 'modelmora_gateway_probe_age_seconds{lane="%s",result="answered"}'


def said(address: str) -> dict[str, Any]:
    """All that a node or a gateway says of itself."""
    found: dict[str, Any] = httpx.get(address + "/health", timeout=30).json()
    return found


def told(what: str, there: Callable[[], Any]) -> None:
    """Wait until it is told, and print after how long."""
    since = time.monotonic()
    eventually(there, what, CAP_S)
    print(f"{what}: told after {time.monotonic() - since:.1f} s")


def answered(gateway: GatewayProcess, lane: str, within_s: float = 30.0) -> bool:
    """Whether a probe of the lane was answered of late."""
    text = httpx.get(gateway.http + "/metrics", timeout=30).text
    name = ANSWERED % lane
    ages = [float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)]
    return bool(ages) and ages[0] < within_s


@contextmanager
def probed(
    servers: str, namespace: str, folder: Path, node: NodeProcess
) -> Iterator[GatewayProcess]:
    """A node as it is shipped, and a gateway that has had an answer of each lane."""
    with node, GatewayProcess(servers, namespace, folder, AS_SHIPPED) as gateway:
        for lane in ("critical", "high", "normal", "low"):
            eventually(lambda: answered(gateway, lane), f"an answer of {lane}", CAP_S)  # noqa: B023
        assert (said(gateway.http)["faults"], said(gateway.http)["degraded"]) == ([], {})
        yield gateway
        assert node.stop() == 0


def test_topics_that_are_changed_and_a_zygote_that_is_frozen(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> None:
    servers = broker.bootstrap_servers
    results, low = f"{namespace}.results", f"{namespace}.requests.low"
    node = NodeProcess(servers, namespace, tmp_path, settings=AS_SHIPPED)
    with probed(servers, namespace, tmp_path, node) as gateway:
        both = (gateway.http, str(node.facts["node_http"]))

        def degraded(what: str) -> bool:
            return all(what in said(each)["degraded"].get("topics", "") for each in both)

        admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        for made in admin.create_partitions([NewPartitions(results, PARTITIONS + 1)]).values():
            made.result(30)
        told("partitions added to results", lambda: degraded(f"{results} has 5 partitions"))
        delete_topic(servers, low)
        told("lane deleted", lambda: f"no topic {low}" in str(said(gateway.http)["faults"]))
        create_topic(servers, low, PARTITIONS, message_timestamp_type="LogAppendTime")
        told("lane made anew", lambda: degraded(f"{low} was made anew"))
        eventually(lambda: answered(gateway, "low", 5), "an answer of the new lane", CAP_S)
        eventually(lambda: not said(gateway.http)["faults"], "well again", CAP_S)
        assert node.zygote
        os.kill(node.zygote, signal.SIGSTOP)
        told("zygote frozen", lambda: "zygote" in str(said(both[1])["why"].get("workers", "")))
        eventually(lambda: "workers" not in said(both[1])["why"], "replaced", CAP_S)


def test_a_clock_that_jumps(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> None:
    """Whose answers arrive all the same."""
    servers = broker.bootstrap_servers
    node = SkewedNode(servers, namespace, tmp_path, "n1", 0.0)
    node._environment["SKEWED_OFF_S"] = str(HOUR_S)
    with probed(servers, namespace, tmp_path, node) as gateway:
        node.jump()
        address = str(node.facts["node_http"])
        told("clock jumped", lambda: "behind" in said(address)["degraded"].get("clock", ""))
        assert answered(gateway, "low")
        assert not said(gateway.http)["faults"]


def test_two_members_with_one_name(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> None:
    servers, copied = broker.bootstrap_servers, tmp_path / "copied"
    copied.mkdir()
    node = NodeProcess(servers, namespace, tmp_path, settings=AS_SHIPPED)
    second = NodeProcess(servers, namespace, copied, settings=AS_SHIPPED)
    with probed(servers, namespace, tmp_path, node) as gateway:
        second.start()
        try:

            def seen() -> bool:
                name = "another node runs under its name"
                here = name in said(str(node.facts["node_http"]))["degraded"].get("name", "")
                return here or "another node runs as n1" in second.log_since_start()

            told("two by one name", seen)
            second.wait(180)
        finally:
            second.kill()
        assert node.running
        eventually(lambda: answered(gateway, "low", 15), "answers of who stays", CAP_S)


@pytest.mark.parametrize("who", [Component.GATEWAY, Component.NODE])
def test_a_right_that_is_taken_away(estate: Estate, who: Component) -> None:
    """Nobody asks anything: the probes alone meet it."""
    granted = {each: estate.allow(each) for each in (Component.NODE, Component.GATEWAY)}
    topic = "requests.low" if who is Component.GATEWAY else "results"
    lost = on_topic(Operation.WRITE, f"{estate.namespace}.{topic}")
    assert lost in granted[who]
    node, gateway = estate.node(**AS_SHIPPED), estate.gateway(**AS_SHIPPED)
    with node, gateway:
        eventually(lambda: answered(gateway, "low"), "an answer", CAP_S)
        address = gateway.http if who is Component.GATEWAY else str(node.facts["node_http"])
        estate.guarded.revoke(estate.user(who), lost)
        told(f"{who} may not write", lambda: f"denies us {lost}" in str(said(address)))
        told("unready", lambda: said(gateway.http)["faults"])
        assert "requests.low" in str(said(gateway.http)["faults"])
        estate.guarded.grant(estate.user(who), [lost])
        eventually(lambda: not said(gateway.http)["faults"], "well again", CAP_S)
        assert node.stop() == 0
