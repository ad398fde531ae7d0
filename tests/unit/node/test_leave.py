"""A node decides as a gateway does, for who came by none as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmora.errors import Code
from modelmora.messages import ControlVerb, Lane
from modelmora.node.leave import Leave
from modelmora.records.roles import grant_record
from modelmora.serving import Incoming
from modelmora.settings import AccessSettings
from modelmora.testing.fakes import incoming
from tests.unit.agents.test_control import Office
from tests.unit.serving.conftest import hall
from tests.unit.serving.rig import ECHO, Hall

__all__ = ["hall"]

ROLES = {
    "reader": [{"verbs": ["infer"], "models": ["echo"], "lanes": ["low", "normal"]}],
    "loader": [{"verbs": ["load"]}],
}
GRANTS = {"topic:billing": ["reader"], "alice": ["reader", "loader"]}
ACCESS = AccessSettings.model_validate({"roles": ROLES, "grants": GRANTS})


def asked(
    who: str, model: str = "echo", lane: Lane = Lane.LOW, *, progress: bool = False
) -> Incoming:
    request = incoming(model=model, lane=lane, progress=progress)
    request.principal = who
    return request


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        (asked("alice"), True),
        (asked("alice", "echo@1"), True),
        (asked("topic:billing"), True),
        (asked("billing"), False),
        (asked("topic:alice"), False),
        (asked("local"), False),
        (asked("alice", lane=Lane.CRITICAL), False),
        (asked("alice", progress=True), False),
        (asked("alice", "sleep"), False),
        (asked("alice", ""), True),
    ],
)
async def test_a_request_may_ask_what_its_principal_may(
    office: Office, request_: Incoming, *, allowed: bool
) -> None:
    model = (request_.head.model.partition("@")[0] or "echo", "1")
    why = Leave(ACCESS, office.models.state).of_request(request_, model)
    assert (why is None) == allowed, why
    assert why is None or request_.principal in why


async def test_an_order_needs_load_or_unload(office: Office) -> None:
    leave = Leave(ACCESS, office.models.state)
    told = {verb: leave.of_order("alice", verb, ECHO) for verb in ControlVerb}
    allowed = {verb for verb, why in told.items() if why is None}
    assert allowed >= {ControlVerb.LOAD, ControlVerb.WARM_UP, ControlVerb.PIN}
    assert "alice may not unload echo@1" in str(told[ControlVerb.UNLOAD])
    assert told[ControlVerb.UNPIN]


async def test_what_the_registry_tells_counts_from_when_it_is_read(office: Office) -> None:
    leave = Leave(AccessSettings(), office.models.state)
    leave.ask(office.service, office.control)
    assert office.service.forbids(asked("bob"), ECHO) is None
    assert office.control.forbids("bob", ControlVerb.UNLOAD, ECHO) is None
    office.hear(grant_record("alice", ["caller"]))
    assert office.service.forbids(asked("alice"), ECHO) is None
    assert office.service.forbids(asked("bob"), ECHO)
    assert office.control.forbids("bob", ControlVerb.UNLOAD, ECHO)


async def test_who_may_not_ask_is_refused_before_anything_is_fetched(hall: Hall) -> None:
    hall.service.forbids = lambda request, _: "no" if request.principal == "bob" else None
    assert hall.service.takes(asked("alice"))
    assert not hall.service.takes(asked("bob"))
    hall.service.accept(asked("bob"))
    assert hall.told == [("failed", "r1", Code.FORBIDDEN)]
    hall.service.accept(asked("alice"))
    assert len(hall.workers.loads) == 1


async def test_what_is_refused_is_audited(hall: Hall, office: Office) -> None:
    told: list[tuple[object, ...]] = []

    def audit(verb: str, principal: str, **more: object) -> None:
        told.append((verb, principal, more["allowed"], more["model"], more["request_id"]))

    leave = Leave(ACCESS, office.models.state, audit)
    leave.ask(hall.service, office.control)
    hall.service.accept(asked("topic:alice"))
    hall.service.accept(asked("bob", progress=True))
    hall.service.accept(asked("alice"))
    hall.service.accept(asked("alice", "none"))
    assert told == [
        ("infer", "topic:alice", False, "echo", "r1"),
        ("stream", "bob", False, "echo", "r1"),
    ]


async def test_a_forged_request_runs_nowhere(hall: Hall) -> None:
    forged = asked("topic:alice")
    forged.forged = True
    assert not hall.service.takes(forged)
    hall.service.accept(forged)
    assert hall.told == [("failed", "r1", Code.FORBIDDEN)]
