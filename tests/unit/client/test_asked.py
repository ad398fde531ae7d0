"""What a program asks, as the record that goes onto a topic."""

from __future__ import annotations

import pytest

from modelmora.client.kafka.asked import Asked
from modelmora.errors import Invalid
from modelmora.settings import Settings


def test_headers_are_those_of_the_record() -> None:
    asked = Asked.of("r", "m", ["x"], {"headers": {"x-cohort": "b\u00e4ta"}, "principal": "me"})
    record = asked.record(Settings())
    assert record.headers == (
        ("x-cohort", "b\u00e4ta".encode()),
        ("modelmora-principal", b"me"),
    )


@pytest.mark.parametrize(
    "name", ["modelmora-principal", "cookie", "X-Upper", "", "kafka_replyTopic"]
)
def test_a_header_that_has_another_meaning_is_none_for_a_route(name: str) -> None:
    with pytest.raises(Invalid, match="none at which a route looks"):
        Asked.of("r", "m", ["x"], {"headers": {name: "x"}})
