"""`budgets` against the gateway's own doors: told, listed, refused and taken away."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from modelmora.gateway.doors.rest.routes import create_app
from modelmora.records.limiting import Limiting
from modelmora.settings.budgets import Budget, Rate
from tests.unit.cli.runs import Cli
from tests.unit.gateway.gate import LIMIT, Gate

URL = ("--url", "127.0.0.1:1")
OWN = {"own": Budget(tokens=Rate(amount=9))}


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    gate.tell({}, {})
    limiting = Limiting(OWN, gate.hall.registrar.state)
    app = create_app(gate.open, gate.metrics, LIMIT, permits=gate.permits, limiting=limiting)

    class Client(TestClient):
        def __init__(self, **_: Any) -> None:
            super().__init__(app, raise_server_exceptions=False)

        def __enter__(self) -> Client:
            return self  # without Starlette's lifespan, which the gateway has none of

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(httpx, "Client", Client)
    return gate


def budgets(cli: Cli, *words: str) -> Any:
    return cli("budgets", *words, *URL)


def test_a_budget_from_its_first_word_to_its_last(cli: Cli, gate: Gate) -> None:
    one = ("--principal", "guest-*", "--lane", "low", "--requests", "600:50", "--each", "all")
    assert budgets(cli, "set", "guests", *one, "--device-ms", "200/second").code == 0
    listed = budgets(cli, "list").out
    assert "requests 600/minute:50, device_ms 200/second" in listed
    assert "guest-*" in listed
    found = {each["name"]: each for each in json.loads(budgets(cli, "list", "--json").out)}
    assert {name: each["told_by"] for name, each in found.items()} == {
        "guests": "registry",
        "own": "settings",
    }
    guests = found["guests"]["budget"]
    assert (guests["each"], guests["lanes"], guests["tokens"]) == ([], ["low"], None)
    assert guests["requests"] == {"amount": 600, "per": "minute", "burst": 50}
    assert budgets(cli, "remove", "guests").code == 0
    gone = budgets(cli, "remove", "guests")
    assert (gone.code, "tells no budget guests; see `modelmora budgets list`" in gone.err) == (
        3,
        True,
    )


def test_what_is_refused(cli: Cli, gate: Gate) -> None:
    taken = budgets(cli, "set", "own", "--requests", "5")
    assert (taken.code, "the settings tell a budget own" in taken.err) == (1, True)
    kept = budgets(cli, "remove", "own")
    assert (kept.code, "the settings tell it" in kept.err) == (3, True)
    for words in (("Big",), ("a", "--lane", "slow"), ("a", "--each", "day")):
        assert budgets(cli, "set", *words, "--requests", "5").code != 0
    wrong = budgets(cli, "set", "a", "--requests", "many")
    assert "--requests many: is AMOUNT[/second|/minute][:BURST], such as 600/minute:50" in wrong.err
    assert "a budget limits something" in budgets(cli, "set", "a").err
    assert budgets(cli, "set", "a", "--requests", "0").code != 0
    assert gate.hall.registrar.state.budgets() == {}


def test_nothing_told(cli: Cli, monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    monkeypatch.setattr(Limiting, "budgets", lambda _: {})
    assert "no budget is told" in budgets(cli, "list").err
