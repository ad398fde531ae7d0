"""What nodes and gateways measure, read from the topic as anybody may."""

from __future__ import annotations

from modelmora.client.kafka import KafkaClient
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
