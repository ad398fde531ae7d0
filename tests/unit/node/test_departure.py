"""What is told of a node that leaves: what it answered, what it left, how long it took."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelmora.messages import FACTS, EventKind
from modelmora.node.departure import ASKED, Departure
from modelmora.settings import Settings


class Leaving:
    """A node of three open requests and one open copy, which answers two while it drains."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.metrics = SimpleNamespace(ended=10)
        self.presence = SimpleNamespace(leave=lambda: self.seen.append("said"))
        self.warming = SimpleNamespace(leave=self._warm)
        self.models = SimpleNamespace(measured=lambda **_: None)
        self.requests = SimpleNamespace(
            close=lambda: self.seen.append("closed"),
            drop=lambda *_, **__: self.seen.append("dropped"),
        )
        self.service = SimpleNamespace(drain=self._drain)
        self.intake = SimpleNamespace(
            partitions=set, open_requests=4, open_on=lambda topic: int(topic.endswith("shadow"))
        )
        self.shelf = None
        self.publisher = object()
        self.seen: list[object] = []

    async def _warm(self, most_s: float) -> None:
        self.seen.append(most_s)

    async def _drain(self, *_: object) -> bool:
        self.metrics.ended += 2
        self.intake.open_requests -= 2
        return True

    async def acknowledged(self, _: object) -> None:
        self.seen.append("acknowledged")


def departure(node: Leaving) -> Departure:
    return Departure(cast("Any", node))


@pytest.mark.parametrize(("why", "waits_s"), [(None, 10.0), ("its reader stands still", 0.0)])
async def test_what_it_did_is_told_and_why(why: str | None, waits_s: float) -> None:
    node = Leaving()
    leaving = departure(node)
    leaving.why = why
    await leaving.hand_over()
    assert node.seen == ["said", waits_s, "closed", "dropped", "acknowledged"]
    facts = leaving.facts()
    assert tuple(facts) == FACTS[EventKind.NODE_LEFT]
    assert facts["reason"] == (why or ASKED)
    assert (facts["answered"], facts["unanswered"]) == (2, 1)
