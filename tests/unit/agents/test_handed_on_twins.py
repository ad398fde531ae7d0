"""Requests of one id where one of them was handed on, dropped, or passed over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from modelmora.agents.requests import Requests
from modelmora.agents.twins import Twins
from modelmora.errors import Code
from modelmora.messages import InferenceRequest
from modelmora.scheduling import Policy
from modelmora.serving import BrokerClock, Incoming, Service
from modelmora.settings import Settings
from modelmora.testing.fakes import FakeOutcomes, FakeRecord, FakeTime, incoming
from modelmora.wire import encode_request
from modelmora.wire.ids import id_of_name
from tests.unit.agents.test_twins import ID, NOW, TOPIC, House, outcome

TIER = "ns.retry.30s"
LANE = (TOPIC, 0)


@pytest.fixture
def house() -> House:
    house = House()
    house.intake.assign((TIER, 0), 0, 0)
    house.twins.look()
    return house


def back(house: House, first: Incoming, offset: int = 0) -> Incoming:
    """The request is read again, where it was put off to."""
    record = FakeRecord(TIER, 0, offset, timestamp=NOW + 50)
    assert house.intake.begin(record)
    request = incoming(first.head.request_id, record=record)
    request.content = first.content
    request.handed_on = first.to_hand_on(retries=1)
    if not house.twins.takes(request):
        house.ran.append(request)
    return request


async def test_what_comes_back_is_not_looked_for(house: House) -> None:
    first = house.ask(0)
    house.twins.handed_on(first.record)
    again = back(house, first)
    assert house.ran == [first, again]
    house.end(again)
    assert (house.sought, house.is_empty) == ([], True)


async def test_nobody_waits_for_an_outcome_of_what_was_handed_on(house: House) -> None:
    first, second, third = house.ask(0), house.ask(1), house.ask(2)
    house.twins.handed_on(first.record)
    await house.rest()
    assert house.ran == [first, second]
    house.twins.handed_on(second.record)
    await house.rest()
    assert house.ran == [first, second, third]
    assert len(house.sought) == 2, "once each"


async def test_what_comes_back_is_told_what_another_has_ended_as_meanwhile(house: House) -> None:
    first = house.ask(0)
    house.twins.handed_on(first.record)
    second = house.ask(1)
    await house.rest()
    assert house.ran == [first, second]
    house.end(second)
    back(house, first)
    await house.rest()
    assert house.ran == [first, second]
    ((_, head, _),) = house.told
    assert head.source == first.source


async def test_a_new_owner_looks_for_what_was_put_off_elsewhere(house: House) -> None:
    """Another of its id may have ended there, on its lane, which is read behind that one here."""
    house.intake.assign(LANE, 1, 9)
    house.now_ms = NOW + 20_000
    house.twins.look()
    house.stored[ID] = outcome()
    first = incoming(ID, record=FakeRecord(TOPIC, 0, 7, timestamp=NOW))
    first.content = "same"
    back(house, first)
    await house.rest()
    assert (house.ran, len(house.told)) == ([], 1)


@pytest.mark.parametrize("request_id", [ID, "no-time-in-it"])
async def test_what_another_node_has_handed_on_is_looked_for(house: House, request_id: str) -> None:
    """There it may have been a later run than its record says."""
    house.stored[request_id] = outcome(Code.EXPIRED, written_ms=NOW - 100)
    first = incoming(request_id, record=FakeRecord(TOPIC, 7, 7, timestamp=NOW))
    first.content = "same"
    again = back(house, first)
    await house.rest()
    assert (house.ran, again.run) == ([again], 2)


async def test_whose_outcome_was_dropped_runs_where_it_is_read_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partition went while its outcome waited for the broker, and came back."""
    monkeypatch.setattr("modelmora.agents.twins.RETRY_S", ())
    first = house.ask(0)
    assert house.twins.drop({LANE}) == []
    house.twins.leave({LANE})
    assert house.twins._firsts == {}
    house.intake.assign(LANE, 0, 0)
    again = house.ask(0)
    await house.rest()
    assert house.ran == [first, again]


async def test_what_waits_elsewhere_for_an_outcome_that_is_on_its_way_is_told_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmora.agents.twins.RETRY_S", (0.0,))
    first, _ = house.ask(0), house.ask(1, partition=1)
    house.twins.leave({LANE})
    await asyncio.sleep(0)
    house.end(first)
    await house.rest()
    assert house.ran == [first]
    assert len(house.told) == 1


@dataclass
class Desk:
    """Records with twins behind them, and a service that notes what it is given."""

    now_ms: float = NOW + 60_000

    def __post_init__(self) -> None:
        settings = Settings(namespace="ns")
        self.clock = BrokerClock(FakeTime())
        self.service = Service(FakeOutcomes(), self.clock, Policy(), 600_000)
        self.house = House()
        self.house.intake.assign(LANE, 1, 0, answered={1: ID})
        self.twins = Twins(self.house.intake, self.house, lambda: self.now_ms)
        nothing_is_buried: Any = None
        parts = (self.house.intake, self.service, nothing_is_buried, self.clock)
        self.requests = Requests(settings, *parts, twins=self.twins)
        self.ran: list[Incoming] = []
        self.twins.use(self.requests.admit, self.service, self.house)
        self.service.accept = self.ran.append  # type: ignore[method-assign,assignment]

    def read(self, offset: int, request_id: str, at: int) -> FakeRecord:
        value = encode_request(InferenceRequest(request_id, "echo", ("a",)))
        record = FakeRecord(TOPIC, 0, offset, 1, at, value=value)
        self.requests.on_record(record)
        return record


async def test_what_is_answered_elsewhere_may_have_twins() -> None:
    desk = Desk()
    desk.read(0, "long-before", NOW - 10_000)
    desk.read(1, ID, NOW)
    desk.read(2, ID, NOW + 10)
    desk.read(3, id_of_name("another", NOW + 10_000), NOW + 10_000)
    assert [request.record.offset for request in desk.ran] == [0, 3]
    while desk.twins._tasks:
        await asyncio.gather(*desk.twins._tasks)
    assert [each for each, _ in desk.house.sought] == [ID]


async def test_only_what_goes_for_good_is_forgotten_with_its_outcome_under_way() -> None:
    desk = Desk()
    desk.read(0, "its-outcome-is-written", NOW)
    desk.requests.drop({LANE}, started=False)
    assert desk.twins._firsts, "it is still owed here, and its end is told"
    desk.requests.drop({LANE})
    assert not desk.twins._firsts


async def test_what_is_told_earns_no_further_try() -> None:
    desk = Desk()
    tries: list[None] = []
    desk.requests.on_first = lambda: tries.append(None)
    desk.read(0, "no-time-in-it", NOW)
    desk.read(2, "no-time-in-it", NOW + 1)
    assert len(tries) == 1
