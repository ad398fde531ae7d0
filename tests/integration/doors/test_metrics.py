"""What nodes and gateways measure, read from the topic as anybody may."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from modelmora.client.kafka import KafkaClient
from modelmora.telemetry.metrics import ALL, Part
from tests.nodes import GatewayProcess
from tests.stations import Station

WANTED = {"modelmora_open_requests", "modelmora_gateway_broker_up"}


def test_both_tell_what_they_measure(station: Station, gateway: GatewayProcess) -> None:
    with (
        KafkaClient(station.servers, station.namespace) as client,
        client.metrics(start="earliest") as samples,
    ):
        found = {}
        for sample in samples:
            found[sample.name] = sample
            if found.keys() >= WANTED:
                break
    node, door = found["modelmora_open_requests"], found["modelmora_gateway_broker_up"]
    assert node.node != door.node
    assert door.node.startswith("gateway-")
    assert door.value in (0, 1)


def test_each_metric_of_the_table_is_told_and_no_other(
    station: Station, gateway: GatewayProcess
) -> None:
    with httpx.Client(base_url=gateway.http, timeout=60) as door:
        assert door.post("/infer/echo", json={"inputs": ["a"]}).status_code == 200
        texts = {
            Part.GATEWAY: door.get("/metrics").text,
            Part.NODE: station.node.text("/metrics"),
        }
    for part, text in texts.items():
        found = {each.name: each.type for each in text_string_to_metric_families(text)}
        told = {
            each.name.removesuffix("_total"): each.kind.value
            for each in ALL
            if each.part in (part, Part.BOTH)
        }
        created = {name for name in found if name.endswith("_created")}
        assert {name: kind for name, kind in found.items() if name not in created} == told
    samples = [
        (sample.name, sample.labels)
        for each in text_string_to_metric_families(texts[Part.NODE])
        for sample in each.samples
    ]
    assert ("modelmora_model_waiting", {"model": "echo", "version": "1"}) in samples
    assert ("modelmora_models", {"state": "ready"}) in samples
    assert ("modelmora_batch_rows_count", {"model": "echo"}) in samples
    assert ("modelmora_consumer_lag", {"topic": "requests.normal"}) in samples
    assert ("modelmora_unowned_lag", {"topic": "retry.5m"}) in samples
    assert ("modelmora_events_total", {"type": "loaded"}) in samples
    assert any(
        name == "modelmora_model_memory_bytes" and labels["device"] == "cpu"
        for name, labels in samples
    )
