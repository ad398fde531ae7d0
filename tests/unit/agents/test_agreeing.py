"""Which outcomes make a pair, and what of it is known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord

from modelmora.agents.models.agreeing import Agreements
from modelmora.agents.stored import Outcome, Stored
from modelmora.kafka.pulse import Pulse
from modelmora.kafka.reading.lookback import LookBackFailed
from modelmora.messages import Content, InferenceResult, Source, Status
from modelmora.messages.headers import SHADOW_OF
from modelmora.records.canaries import Canary
from modelmora.routing import alone
from modelmora.settings import Settings
from modelmora.settings.canaries import CanaryPlan
from modelmora.wire import encode_result

PLAN = CanaryPlan(candidate="2", samples=10, agreement=0.9)
CANARY = Canary("id", "m", "1", PLAN, alone("1"), 0, 5)


def result(request_id: str, version: str, *outputs: Content, model: str = "m") -> InferenceResult:
    where = (request_id, Status.COMPLETED, model, version, Source("t", 0, 0))
    return InferenceResult(*where, outputs=outputs)


class Desk:
    """Agreements over outcomes that a test has."""

    def __init__(self) -> None:
        self.results: dict[str, InferenceResult] = {}
        self.fails = False
        self.asked: list[tuple[str, int]] = []
        pulse = cast("Pulse", SimpleNamespace(shapes={}))
        settings = Settings(namespace="ns", bootstrap_servers="nowhere:1")
        self.agreements = Agreements(settings, pulse, None, cast("Stored", self))

    async def find(self, request_id: str, since_ms: int) -> Outcome | None:
        self.asked.append((request_id, since_ms))
        if self.fails:
            raise LookBackFailed("not now")
        found = self.results.get(request_id)
        return Outcome(found, "", 0) if found else None

    def copy(self, original: str, *outputs: Content, version: str = "2", **more: Any) -> None:
        value = encode_result(result("copy-" + original, version, *outputs, **more))
        headers = ((SHADOW_OF, original.encode()),)
        self.agreements._take(
            ConsumerRecord("ns.compare", 0, 0, 7_000_000, 1, b"", value, None, 0, 0, headers)
        )

    async def look(self, canary: Canary = CANARY) -> list[float]:
        await self.agreements.follow({"m": (canary, 0)})
        return self.agreements.of("m")


@pytest.fixture
async def desk() -> Desk:
    desk = Desk()
    assert await desk.look() == []
    return desk


async def test_both_outcomes_of_an_id_are_a_pair(desk: Desk) -> None:
    desk.results = {name: result(name, "1", "yes") for name in ("a", "b")}
    desk.copy("a", "yes")
    desk.copy("b", "no!")
    desk.copy("b", "no!")
    assert await desk.look() == [1.0, 0.0]
    desk.copy("b", "yes")
    assert await desk.look() == [1.0, 0.0], "an id counts once"
    assert desk.asked[0] == ("a", 7_000_000 - 3_600_000), "an id without a time is of any"


async def test_what_is_no_pair_does_not_count(desk: Desk) -> None:
    desk.results = {
        "by-candidate": result("by-candidate", "2", "yes"),
        "picture": result("picture", "1", b"PNG"),
        "other": result("other", "1", "yes"),
    }
    desk.copy("unanswered", "yes")
    desk.copy("by-candidate", "yes")
    desk.copy("picture", "yes")
    desk.copy("other", "yes", version="3")
    desk.copy("other", "yes", model="n")
    desk.copy("other", b"PNG")
    assert await desk.look() == []
    desk.copy("other", "yes")
    assert await desk.look() == [1.0]


async def test_what_cannot_be_looked_for_waits(desk: Desk) -> None:
    desk.results = {"a": result("a", "1", "yes")}
    desk.copy("a", "yes")
    desk.fails = True
    assert await desk.look() == []
    desk.fails = False
    assert await desk.look() == [1.0]


async def test_no_more_is_looked_for_than_is_asked(desk: Desk) -> None:
    desk.results = {str(n): result(str(n), "1", "yes") for n in range(30)}
    for number in range(30):
        desk.copy(str(number), "yes")
    assert await desk.look() == [1.0] * PLAN.samples
    assert len(desk.asked) == PLAN.samples


async def test_another_canary_begins_anew_and_one_that_asks_nothing_has_none(desk: Desk) -> None:
    desk.results = {"a": result("a", "1", "yes")}
    desk.copy("a", "yes")
    assert await desk.look() == [1.0]
    assert await desk.look(replace(CANARY, id="another")) == []
    desk.copy("a", "yes")
    asks_nothing = replace(CANARY, plan=PLAN.model_copy(update={"agreement": None}))
    assert await desk.look(asks_nothing) == []
