"""`canary` against the gateway's own doors: begun, looked at, and ended."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.messages import EventKind
from modelmora.records.canaries import canary_of, canary_record
from modelmora.records.verbs import register
from modelmora.settings import ModelConfig
from tests.unit.cli.runs import Cli
from tests.unit.gateway.fakes import FakeHall

URL = ("--url", "127.0.0.1:1")


@pytest.fixture
def hall(monkeypatch: pytest.MonkeyPatch) -> FakeHall:
    hall = FakeHall()
    app = create_app(hall, Metrics(), 1_000_000)
    second = ModelConfig(name="echo", version="2", task="echo", source="tests")
    record = register(hall.registrar.state, second, "tests")
    assert record
    hall.registry.write(record)

    class Client(TestClient):
        def __init__(self, **_: Any) -> None:
            super().__init__(app, raise_server_exceptions=False)

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(httpx, "Client", Client)
    return hall


def canary(cli: Cli, *words: str) -> Any:
    return cli("canary", *words, *URL)


def test_from_its_start_to_its_end_by_a_person(cli: Cli, hall: FakeHall) -> None:
    assert "there is no canary" in canary(cli, "list").err
    begun = canary(cli, "start", "echo", "2", "--steps", "10%,100", "--hold", "30")
    assert (begun.code, begun.out.partition(";")[0]) == (0, "2 at 10 % (step 1 of 2)")
    state = hall.registrar.state
    assert state.told_route("echo")[-1][1].weights == {"1": 90, "2": 10}
    told = json.loads(canary(cli, "show", "echo", "--json").out)
    assert (told["standing"], told["plan"]["hold_s"], told["numbers"]) == ("running", 30.0, {})
    (listed,) = json.loads(canary(cli, "list", "--json").out)
    assert listed == told
    found = canary_of(state, "echo")
    assert found
    numbers = {"candidate_requests": 120.0, "candidate_failed_share": 0.25, "baseline_p50_ms": 8.5}
    seen = replace(found, numbers=numbers, why="not worse so far")
    hall.registry.write(replace(canary_record(seen, "n"), based_on=len(hall.registry.log) - 2))
    shown = canary(cli, "show", "echo").out
    assert "echo: running, as of" in shown
    assert all(each in shown for each in ("not worse so far", "120", "25.00%", "8.5"))
    assert "1 to 2" in canary(cli, "list").out
    ended = canary(cli, "abort", "echo")
    assert (ended.code, ended.out) == (0, "echo: aborted, 1 answers alone\n")
    assert state.told_route("echo")[-1][1].weights == {"1": 1}
    assert hall.registry.told == [
        (EventKind.CANARY_DECIDED, ("echo", "2")),
        (EventKind.ROUTE_CHANGED, ("echo", "1")),
        (EventKind.CANARY_DECIDED, ("echo", "2")),
        (EventKind.ROUTE_CHANGED, ("echo", "1")),
    ]
    assert hall.registry.audited == [("canary", "echo"), ("route", "echo")] * 2


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("start", "echo", "9"), 3, "echo@9 is not registered; echo has 1, 2"),
        (("start", "echo", "1"), 1, "candidate: echo is answered by 1 already"),
        (("start", "nothing", "1"), 3, "nothing@1 is not registered"),
        (("start", "echo", "2", "--steps", "5;100"), 2, "must be percents, such as 5,25,50,100"),
        (("start", "echo", "2", "--steps", "5,50"), 1, "the last is 100"),
        (("start", "echo", "2", "--hold", "0"), 1, "hold_s"),
        (("start", "echo", "2", "--confidence", "1"), 1, "confidence"),
        (("start", "echo", "2", "--samples", "1"), 1, "samples"),
        (("start", "echo", "2", "--slower", "nan"), 2, "slower must be a number"),
        (("start", "echo", "2", "--hold", "inf"), 2, "hold_s must be a number"),
        (("show", "echo"), 3, "echo has no canary; see /canaries"),
        (("abort", "echo"), 3, "echo has no canary; see `modelmora canary list`"),
    ],
)
def test_what_is_refused_says_why(
    cli: Cli, hall: FakeHall, words: tuple[str, ...], code: int, why: str
) -> None:
    found = canary(cli, *words)
    assert (found.code, why in found.err.replace("\n", " ")) == (code, True), found.err
    assert hall.registry.told == []


def test_who_ends_it_while_its_judge_tells_what_it_sees_is_not_refused(
    cli: Cli, hall: FakeHall
) -> None:
    canary(cli, "start", "echo", "2")
    entry = hall.registrar.state.canary("echo")
    found = canary_of(hall.registrar.state, "echo")
    assert entry
    assert found
    noted = canary_record(replace(found, why="noted"), "n")
    hall.registry.before = [replace(noted, based_on=entry.offset)]
    assert canary(cli, "abort", "echo").code == 0
    assert hall.registrar.state.told_route("echo")[-1][1].weights == {"1": 1}
