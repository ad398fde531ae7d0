"""`roles` against the gateway's own doors: told, granted, asked and taken back."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from modelmora.gateway.doors.rest.routes import create_app
from tests.unit.cli.runs import Cli
from tests.unit.gateway.gate import LIMIT, ME, Gate

URL = ("--url", "127.0.0.1:1")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    gate.tell({}, {})
    app = create_app(gate.open, gate.metrics, LIMIT, permits=gate.permits)

    class Client(TestClient):
        def __init__(self, **_: Any) -> None:
            super().__init__(app, raise_server_exceptions=False)

        def __enter__(self) -> Client:
            return self  # without Starlette's lifespan, which the gateway has none of

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(httpx, "Client", Client)
    return gate


def roles(cli: Cli, *words: str) -> Any:
    return cli("roles", *words, *URL)


def test_a_role_from_the_first_grant_to_the_last(cli: Cli, gate: Gate) -> None:
    assert "whoever is known may do all" in roles(cli, "list").err
    refused = roles(cli, "set", "embedder", "--verb", "infer")
    assert (refused.code, "would not be admin any more" in refused.err) == (1, True)
    assert roles(cli, "grant", ME, "admin").code == 0
    one = ("set", "embedder", "--verb", "infer", "--model", "embed-*", "--lane", "low")
    assert roles(cli, *one).code == 0
    assert roles(cli, "set", "embedder", "--add", "--deny", "--verb", "load").code == 0
    assert roles(cli, "grant", "alice", "embedder").code == 0
    assert roles(cli, "grant", "alice", "auditor", "auditor").code == 0
    listed = roles(cli, "list").out
    assert "embed-*" in listed
    assert "auditor embedder" in listed
    yes = roles(cli, "check", "alice", "infer", "embed-x", "--lane", "low")
    assert (yes.code, yes.out) == (0, "yes: role embedder allows it\n")
    no = roles(cli, "check", "alice", "infer", "embed-x")
    assert no.code == 1
    assert no.out.startswith("no: alice may not infer embed-x: ")
    assert "role embedder denies it" in roles(cli, "check", "alice", "load").out
    assert roles(cli, "drop", "embedder").code == 1
    assert roles(cli, "revoke", "alice", "caller").code == 3
    assert roles(cli, "revoke", "alice", "embedder").code == 0
    assert roles(cli, "drop", "embedder").code == 0
    assert roles(cli, "revoke", "alice").code == 0
    assert roles(cli, "revoke", ME).code == 1
    found = json.loads(roles(cli, "list", "--json").out)
    assert found["grants"] == [{"principal": ME, "told_by": "registry", "roles": ["admin"]}]


def test_what_settings_tell_counts_in_a_check(cli: Cli, gate: Gate) -> None:
    gate.tell({}, {ME: ("admin",), "team-*": ("caller",)})
    assert roles(cli, "check", "team-a", "stream", "m", "--lane", "high").code == 0
    assert roles(cli, "check", "team-a", "route", "m").code == 1
    assert roles(cli, "check", "team-a", "stream", "m", "--lane", "fast").code == 3
    gate.tell({}, {ME: ("admin",), "eve": ("admni",)})
    assert "eve is granted admni, which nobody tells" in roles(cli, "list").err


@pytest.mark.parametrize(
    "words",
    [
        ("set", "x", "--verb", "fly"),
        ("set", "x"),
        ("set", "x", "--verb", "infer", "--lane", "fast"),
        ("set", "Not A Role", "--verb", "infer"),
        ("set", "admin", "--verb", "infer"),
        ("set", "x", "--verb", "infer", "--model", "a b"),
        ("grant", "alice", "nobody-tells-it"),
        ("grant", "", "admin"),
        ("drop", "nix"),
        ("check", "alice", "fly"),
    ],
)
def test_nonsense_is_one_line(cli: Cli, gate: Gate, words: tuple[str, ...]) -> None:
    gate.tell({}, {ME: ("admin",)})
    said = roles(cli, *words)
    assert said.code in (1, 2, 3)
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1, said.err
