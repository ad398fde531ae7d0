"""Orders and cancels count as those of who has signed them, whatever else they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from modelmora.access.signing import Signer, Verifier
from modelmora.kafka.commands import command_headers
from modelmora.messages import ControlCommand, ControlVerb
from modelmora.scheduling import ModelKey
from modelmora.serving.cancels import Cancel
from modelmora.wire import encode_control
from tests.unit.agents.test_control import Office

SECRET = b"s" * 32
SIGNER = Signer(SECRET)
LOAD = ControlCommand(ControlVerb.LOAD, "first", "alice")
CANCEL = ControlCommand(ControlVerb.CANCEL, "r1", "alice")
Headers = tuple[tuple[str, bytes], ...]


@pytest.fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    made = Office(tmp_path)
    made.install("first")
    made.refresh()
    made.back()
    made.answers()
    made.control._verifier = Verifier([SECRET])
    monkeypatch.setattr("modelmora.kafka.commands.time.time_ns", lambda: 1_000_000)
    return made


def hear(office: Office, command: ControlCommand, headers: Headers, at_ms: int = 1) -> None:
    value = encode_control(command)
    key = command.target.encode()
    record = ConsumerRecord("ns.control", 0, 0, at_ms, 1, key, value, None, 0, 0, headers)
    office.control._on_record(record)


def audited(office: Office) -> list[tuple[str, str, object]]:
    """Verb, principal and whether it was let, of what will be told."""
    told: list[tuple[str, str, object]] = []

    def audit(verb: str, principal: str, **more: object) -> None:
        told.append((verb, principal, more["allowed"]))

    office.control._audit = audit
    return told


@pytest.fixture
def cancels(office: Office, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Cancel]]:
    heard: list[tuple[str, Cancel]] = []
    monkeypatch.setattr(office.service, "cancel", lambda *told: heard.append(told))
    return heard


def test_a_cancel_is_for_what_its_principal_has_asked(
    office: Office, cancels: list[tuple[str, Cancel]]
) -> None:
    hear(office, CANCEL, command_headers(CANCEL, SIGNER))
    hear(office, CANCEL, command_headers(CANCEL, SIGNER, "g1"))
    assert cancels == [("r1", Cancel(1, "alice", None)), ("r1", Cancel(1, "alice", "g1"))]


def test_an_unsigned_cancel_ends_nobody_elses(
    office: Office, cancels: list[tuple[str, Cancel]]
) -> None:
    hear(office, CANCEL, command_headers(CANCEL, None))
    hear(office, CANCEL, ())
    told = [each.principal for _, each in cancels]
    assert told == ["topic:alice", "topic:unknown"], "None would be all"


def test_a_cancel_that_was_changed_is_not_obeyed(
    office: Office, cancels: list[tuple[str, Cancel]]
) -> None:
    told = audited(office)
    headers = command_headers(CANCEL, SIGNER, "g1")
    hear(office, CANCEL, tuple(each for each in headers if each[0] != "modelmora-gateway"))
    hear(office, replace(CANCEL, target="r2"), headers)
    hear(office, CANCEL, headers, at_ms=10_000_000)
    assert cancels == []
    assert told == [("cancel", "topic:alice", False)] * 3


def test_without_a_secret_a_cancel_is_as_it_says(
    office: Office, cancels: list[tuple[str, Cancel]]
) -> None:
    office.control._verifier = Verifier()
    hear(office, CANCEL, command_headers(CANCEL, None))
    hear(office, CANCEL, ())
    assert [each.principal for _, each in cancels] == ["alice", None]


async def test_an_order_is_obeyed_of_who_may_give_it(office: Office) -> None:
    asked: list[tuple[str, ControlVerb, ModelKey]] = []

    def forbids(principal: str, verb: ControlVerb, key: ModelKey) -> str | None:
        asked.append((principal, verb, key))
        return None if principal == "alice" else "no role that is granted allows it"

    office.control.forbids = forbids
    told = audited(office)
    for signer in (SIGNER, None):
        hear(office, LOAD, command_headers(LOAD, signer))
    (obeyed, refused) = office.answers()
    assert obeyed["state"] == "loading"
    assert "state" not in refused
    assert refused["message"] == "forbidden: no role that is granted allows it"
    verb, key = ControlVerb.LOAD, ("first", "1")
    assert asked == [("alice", verb, key), ("topic:alice", verb, key)]
    assert told == [("load", "alice", True), ("load", "topic:alice", False)]


@pytest.mark.parametrize("verb", [ControlVerb.UNLOAD, ControlVerb.PIN])
def test_an_order_that_was_changed_is_answered_with_the_reason(
    office: Office, verb: ControlVerb
) -> None:
    hear(office, replace(LOAD, verb=verb), command_headers(LOAD, SIGNER))
    (refused,) = office.answers()
    assert "state" not in refused
    assert refused["message"].startswith("forbidden: its signature is not of this command")
    assert office.back() == []
