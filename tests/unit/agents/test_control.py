"""Orders as a node reads them: what it answers, and when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord

from modelmora.agents.lifecycle import Lifecycle
from modelmora.agents.models.control import Control
from modelmora.agents.models.declaring import MOST_HELD
from modelmora.kafka.leases import Leases
from modelmora.kafka.pulse import Pulse
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    EventKind,
    RegistryKind,
    RegistryRecord,
    State,
)
from modelmora.records.changes import LAG_MS
from modelmora.records.routes import route_record
from modelmora.records.verbs import retire
from modelmora.routing import alone
from modelmora.settings import Settings
from modelmora.settings.routes import Route
from modelmora.testing.fakes import UNIX_MS, FakeRecord, incoming
from modelmora.wire import decode_event, decode_registry, encode_control, encode_registry
from tests.facts import faults
from tests.unit.agents.test_models import Desk


class Office(Desk):
    """A node's models, and who obeys for them; what it writes comes back when it is handed over."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        pulse = cast("Pulse", SimpleNamespace(shapes={}))
        lifecycle = Lifecycle(self.sender, "n1", "ns")
        settings = Settings(data_dir=folder, namespace="ns", bootstrap_servers="nowhere:1")
        parts = (self.service, self.models, Leases(), pulse, lifecycle)
        self.control = Control(settings, *parts)
        self.control._live = True
        self.orders = 0

    def order(self, verb: ControlVerb, model: str = "first") -> None:
        value = encode_control(ControlCommand(verb, model))
        self.read("ns.control", self.orders, model.encode(), value)
        self.orders += 1

    def read(self, topic: str, offset: int, key: bytes, value: bytes) -> None:
        self.control._on_record(
            ConsumerRecord(topic, 0, offset, 1, 1, key, value, None, 0, 0, ()),
        )

    def back(self) -> list[RegistryRecord]:
        """What was written to the registry since the last look, handed over by the broker."""
        sent = [s for s in self.sender.sent if s.topic == "ns.registry"]
        self.sender.sent = [s for s in self.sender.sent if s.topic != "ns.registry"]
        records = [decode_registry(s.value) for s in sent]
        self.hear(*records)
        return records

    def answers(self) -> list[dict[str, Any]]:
        """What was answered since the last look, by the commands' places."""
        events = [decode_event(s.value) for s in self.sender.sent if s.topic == "ns.events"]
        self.sender.sent = [s for s in self.sender.sent if s.topic != "ns.events"]
        answered = [each for each in events if each.kind is EventKind.ANSWERED]
        assert [fault for each in answered for fault in faults(each)] == []
        return [dict(each.facts) for each in answered]


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    made = Office(tmp_path)
    made.install("first")
    made.refresh()
    made.back()
    made.answers()
    return made


def pinned(office: Office) -> bool:
    return office.service.catalogue.specs["first", "1"].pinned


async def test_a_pin_is_answered_once_it_was_read_back_and_is_kept(office: Office) -> None:
    office.order(ControlVerb.PIN)
    office.refresh()
    assert office.answers() == [], "it is only written yet"
    looked = office.models.look()
    office.back()
    office.models.take(looked)
    assert office.answers() == [], "what was looked at before knows nothing of it"
    office.refresh()
    (answer,) = office.answers()
    assert (answer["verb"], answer["command_offset"], answer["state"]) == ("PIN", 0, "loading")
    assert pinned(office)


async def test_what_is_pinned_already_is_answered_too(office: Office) -> None:
    for number in range(2):
        office.order(ControlVerb.PIN)
        assert len(office.back()) == 1 - number
        office.refresh()
        assert [each["command_offset"] for each in office.answers()] == [number]


async def test_a_pin_that_lost_against_another_change_says_so(office: Office) -> None:
    entry = office.models.state.model("first", "1")
    assert entry
    office.order(ControlVerb.PIN)
    (sent,) = [s for s in office.sender.sent if s.topic == "ns.registry"]
    other = Desk(office.folder, "n2").models.declaring
    other._state.restore(office.models.state.entries)
    other.change("first", "1", lambda _: None, keep_alive=5)
    (winner,) = cast("Any", other._sender).sent
    at = entry.offset + 100
    for number, each in enumerate((winner, sent)):
        office.read("ns.registry", at + number, each.key, each.value)
    office.refresh()
    (answer,) = office.answers()
    assert "state" not in answer
    assert answer["message"] == "another has changed it at the same time; try again"
    assert not pinned(office)


async def test_orders_that_come_at_once_are_obeyed_one_after_another(office: Office) -> None:
    verbs = [ControlVerb.PIN, ControlVerb.UNPIN, ControlVerb.PIN]
    for verb in verbs:
        office.order(verb)
    for _ in verbs:
        assert len(office.back()) == 1, "the next is written while the one before is read"
        office.refresh()
    assert [each["command_offset"] for each in office.answers()] == [0, 1, 2]
    assert pinned(office)


async def test_orders_that_wait_have_a_bound_and_end_with_the_registry(office: Office) -> None:
    for _ in range(MOST_HELD + 2):
        office.order(ControlVerb.PIN)
    (refused,) = office.answers()
    assert "try again later" in refused["message"]
    office.models.tell_anew()
    (gone,) = office.answers()
    assert gone["message"] == "the registry was made anew; try again"
    office.refresh()
    while office.back():
        office.refresh()
    assert len(office.answers()) == MOST_HELD


async def test_a_model_that_is_retired_meanwhile_is_not_told_to_be_pinned(office: Office) -> None:
    office.order(ControlVerb.PIN)
    office.back()
    entry = office.models.state.model("first", "1")
    assert entry
    gone = retire(office.models.state, "first", "1")
    office.read("ns.registry", entry.offset + 1, b"MODEL:first@1", encode_registry(gone))
    office.refresh()
    (answer,) = office.answers()
    assert "not served here" in answer["message"]


HALF = Route(weights={"1": 1, "2": 1})


def route(office: Office, to: Route) -> None:
    state = office.models.state
    before = state.route("first")
    assert before
    told = state.settled(route_record("first", to, "gw"), 1)
    office.hear(replace(told, based_on=before.offset))
    office.refresh()


async def test_an_order_for_a_name_is_for_all_versions_that_answer(office: Office) -> None:
    office.install("first", "2")
    office.refresh()
    office.back()
    route(office, HALF)
    office.order(ControlVerb.PIN)
    assert {record.key for record in office.back()} == {("first", "1"), ("first", "2")}
    office.refresh()
    answers = office.answers()
    assert [each["nodes"] for each in answers] == [2, 2]
    specs = office.service.catalogue.specs
    assert specs["first", "1"].pinned
    assert specs["first", "2"].pinned
    office.order(ControlVerb.LOAD, "first@2")
    assert [each["nodes"] for each in office.answers()] == [1]


async def test_a_version_that_is_elsewhere_is_answered_for_there(office: Office) -> None:
    lease = RegistryRecord(
        RegistryKind.NODE, "n2", "", "", "", "n2", lease_ms=9000, serves={"first@2": "echo"}
    )
    other = replace(lease, kind=RegistryKind.MODEL, name="first", version="2", task="echo")
    office.hear(replace(other, source="/elsewhere"))
    office.read("ns.registry", 90, b"NODE:n2@", encode_registry(lease))
    route(office, HALF)
    office.order(ControlVerb.LOAD)
    assert [each["nodes"] for each in office.answers()] == [2]
    office.order(ControlVerb.UNLOAD)
    assert [each["nodes"] for each in office.answers()] == [2]


async def test_what_begins_to_answer_is_loaded_where_its_name_is_in_use(office: Office) -> None:
    office.install("first", "2")
    office.refresh()
    office.back()
    second = "first", "2"
    route(office, HALF)
    assert office.service.health(second).state is State.COLD, "nobody uses its name here"
    route(office, alone("1"))
    office.order(ControlVerb.LOAD, "first@1")
    (replica,) = office.service.replicas
    office.service.listener.on_loaded(replica, {}, 1.0)
    assert office.service.health(("first", "1")).state is State.READY
    route(office, HALF)
    assert office.service.health(second).state is State.LOADING


async def test_a_change_counts_before_models_are_looked_at_again(office: Office) -> None:
    """A look may take longer than the time after which a change counts."""
    office.install("first", "2")
    office.refresh()
    office.back()
    state = office.models.state
    before = state.route("first")
    assert before
    told = state.settled(route_record("first", alone("2"), "gw"), UNIX_MS - LAG_MS)
    office.hear(replace(told, based_on=before.offset))
    catalogue = office.service.catalogue
    for late_ms, version in ((-1, "1"), (0, "2")):
        request = incoming("no time", "first", record=FakeRecord(timestamp=UNIX_MS + late_ms))
        assert catalogue.resolve(request).key == ("first", version)
