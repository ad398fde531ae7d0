"""What a running node may not do any more is told, and missed only until it may again."""

from __future__ import annotations

import httpx
import pytest

from modelmora.kafka.acls import Component, Operation, Resource
from modelmora.kafka.denied import on_topic
from modelmora.wire import decode_result
from tests.checker.reading import Record, read_records
from tests.integration.acl_rig import Estate
from tests.integration.cli_rig import request
from tests.integration.test_acls import REQUEST_ID, estate
from tests.programs import eventually

__all__ = ["estate"]


@pytest.mark.faults
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("taken", ["one", "each"])
def test_a_right_to_write_that_is_taken_away_is_told_and_what_waits_is_written_once_it_is_back(
    estate: Estate, delivery: str, taken: str
) -> None:
    granted = estate.allow(Component.NODE, delivery=delivery)
    told = on_topic(Operation.WRITE, f"{estate.namespace}.results")
    lost = [
        each
        for each in granted
        if each == told
        or (
            taken == "each" and (each.operation, each.resource) == (Operation.WRITE, Resource.TOPIC)
        )
    ]
    with estate.node(DELIVERY=delivery) as node:

        def written() -> list[Record]:
            return [*read_records(estate.guarded.inside, [told.name])]

        def health() -> str:
            return httpx.get(node.facts["node_http"] + "/health/ready", timeout=60).text

        for each in lost:
            estate.guarded.revoke(estate.user(Component.NODE), each)
        estate.write("requests.normal", request(REQUEST_ID, "echo"))
        eventually(lambda: f"denies us {told};" in health(), "what is denied")
        assert not written()
        estate.guarded.grant(estate.user(Component.NODE), lost)
        (outcome,) = eventually(written, "the outcome")
        assert decode_result(outcome.value).request_id == REQUEST_ID
        eventually(lambda: "denies us" not in health(), "that all is well")
        assert node.stop() == 0
