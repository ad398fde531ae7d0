"""A gateway that asks a real node whether what is written to the lanes is answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelmora.broker import EmbeddedBroker
from modelmora.client.kafka.subscription import results_of
from modelmora.diagnostics.recording import seen
from modelmora.messages import Lane
from modelmora.settings import Settings
from tests.checker.reading import read_records
from tests.nodes import GatewayProcess, NodeProcess
from tests.programs import eventually

SECRET = "0123456789abcdef" * 4
LANES = {lane.label for lane in Lane}
CAP_S = 90.0


def gauges(gateway: GatewayProcess, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric, by those of its labels."""
    text = httpx.get(gateway.http + "/metrics", timeout=30).text
    return {
        tuple(each.labels.values()): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if each.name == name
    }


def health(gateway: GatewayProcess) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(gateway.http + "/health", timeout=30).json()
    return found


@pytest.mark.parametrize(
    ("delivery", "secret"),
    [
        ("exactly_once", SECRET),
        pytest.param("at_least_once", None, marks=pytest.mark.faults),
    ],
)
def test_each_lane_answers_and_nobody_else_hears_of_it(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path, delivery: str, secret: str | None
) -> None:
    servers, proof = broker.bootstrap_servers, {"ACCESS__CLUSTER_SECRET": secret} if secret else {}
    own = {"TIMING__PROBE_S": 0.5} | proof
    with (
        NodeProcess(servers, namespace, tmp_path, settings=proof | {"DELIVERY": delivery}) as node,
        GatewayProcess(servers, namespace, tmp_path, own) as gateway,
    ):
        answered = {(lane, "answered") for lane in LANES}

        def probed() -> bool:
            return gauges(gateway, "modelmora_gateway_probe_age_seconds").keys() >= answered

        eventually(probed, "an answer of each lane", CAP_S)
        took = gauges(gateway, "modelmora_gateway_probe_seconds")
        assert {lane for (lane,) in took} == LANES
        assert all(seconds > 0 for seconds in took.values())
        assert health(gateway)["degraded"] == {}
        said = httpx.post(gateway.http + "/infer/echo", json={"inputs": "x"}, timeout=60)
        assert said.is_success, said.text
        mine = said.headers["x-request-id"]
        assert "probe" not in node.text("/metrics")
        codes = gauges(gateway, "modelmora_gateway_requests_total")
        assert codes == {("completed", "rest"): 1.0}
        assert (gateway.stop(), node.stop()) == (0, 0)
    settings = Settings(bootstrap_servers=servers, namespace=namespace)
    on_results = [*read_records(servers, [f"{namespace}.results"])]
    assert len(on_results) > len(LANES)
    with results_of(settings, start="earliest", follow=False) as outcomes:
        assert [each.request_id for each in outcomes] == [mine]
    recorded = seen(settings, (0, 1 << 50), lambda _: None)
    assert len(recorded.requests) == len(recorded.outcomes) == 1
    for topic in ("dead-letters", "jobs", "compare", "budgets"):
        assert not [*read_records(servers, [f"{namespace}.{topic}"])], topic
