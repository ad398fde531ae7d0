"""What a new owner learns of requests that were handed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from modelmora.messages import InferenceRequest
from modelmora.serving.request import place_read
from modelmora.wire import encode_request
from tests.unit.agents.partition_desk import LANE, SINCE_MS, SOON, Desk, outcome, record


@dataclass
class Message:
    """A record of such a topic as the client hands it over."""

    content: bytes
    told: Sequence[tuple[str, bytes | None]] = ()
    at: int = 0

    def topic(self) -> str:
        return SOON

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return self.content

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        return self.told


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("value", [None, b"", b"1", b"1 x t", b"-1 2 t", b"1 2 ", b"1 2"])
def test_a_place_that_cannot_be_read_is_none(value: bytes | None) -> None:
    assert place_read([("modelmora-read-at", value)]) is None


async def test_what_was_put_off_since_the_commit_is_not_begun_again(desk: Desk) -> None:
    """Killed between the acknowledgement there and the commit here, it would have two outcomes."""
    desk.standing.commits = {LANE: (7, f"mm2:{SINCE_MS}:")}
    value = encode_request(InferenceRequest("id", "echo", ("a",)))
    places = (b"0 7 modelmora.requests.normal", b"9", None)
    desk.standing.put_off = [
        Message(value, [("modelmora-read-at", place)], offset)
        for offset, place in enumerate(places)
    ]
    json = Message(b'{"request_id": "j"}', [("modelmora-read-at", places[0].replace(b"7", b"8"))])
    desk.standing.put_off.append(json)
    await desk.own(LANE)
    assert desk.intake.is_answered(record(7), "id")
    assert not desk.intake.is_answered(record(7), "another")
    assert desk.intake.is_answered(record(8), "j")
    assert not desk.intake.is_answered(record(9), "id")


async def test_what_was_handed_on_counts_where_it_was_read(desk: Desk) -> None:
    """Its source is only what its header said: whoever lies there passes over no other request."""
    desk.standing.commits = {LANE: (7, f"mm2:{SINCE_MS}:")}
    answer = outcome(7)
    desk.standing.outcomes = [answer]
    desk.standing.headers = {
        answer: [("other", None), ("modelmora-read-at", b"0 9 modelmora.requests.normal")]
    }
    await desk.own(LANE)
    first, ninth = record(7), record(9)
    assert desk.intake.begin(first)
    assert not desk.intake.begin(ninth)
    assert desk.intake.is_answered(first, "id")
    assert not desk.intake.is_answered(first, "another")
    assert not desk.intake.is_answered(record(8), "id")
    desk.intake.revoke([LANE])
    assert not desk.intake.is_answered(first, "id")
