"""`apply` and `activate` against the gateway's own doors, over a registry that is a list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from tests.unit.cli.runs import Cli
from tests.unit.gateway.fakes import FakeHall

URL = ("--url", "127.0.0.1:1")
TWO = """\
models:
  - {name: m, task: echo, source: ./files, keep_alive: "${IDLE:-60}", metadata: {by: "$$me"}}
  - {name: m, task: echo, source: /b, version: "2", active: true}
"""


@pytest.fixture
def hall(monkeypatch: pytest.MonkeyPatch) -> FakeHall:
    hall = FakeHall()
    app = create_app(hall, Metrics(), 1_000_000)

    class Client(TestClient):
        def __init__(self, **_: Any) -> None:
            super().__init__(app, raise_server_exceptions=False)

        def __enter__(self) -> Client:
            return self  # without Starlette's lifespan, which the gateway has none of

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(httpx, "Client", Client)
    return hall


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    made.mkdir()
    (made / "two.yaml").write_text(TWO)
    return made


def _versions(hall: FakeHall) -> dict[str, str]:
    models = hall.registrar.state.models()
    return {f"{model.name}@{model.version}": model.source for model in models}


def test_the_plan_comes_first_and_a_second_run_does_nothing(
    cli: Cli, hall: FakeHall, folder: Path
) -> None:
    refused = cli("apply", "models", *URL)
    assert refused.code == 2
    assert "pass --yes" in refused.err
    assert refused.out.splitlines() == [
        f"+ m@1  echo from {folder / 'files'}",
        "+ m@2  echo from /b",
    ]
    assert _versions(hall) == {"echo@1": "tests"}, "nothing was done"
    done = cli("apply", "models", "--yes", *URL)
    assert (done.code, done.err.splitlines()) == (0, ["2 to add", "done"])
    assert hall.registrar.state.active()["m"] == "2"
    log = [*hall.registry.log]
    again = cli("apply", "models", "--yes", *URL)
    assert (again.code, again.out) == (0, "")
    assert again.err == "nothing to do: 2 models as the files say\n"
    assert hall.registry.log == log


def test_what_the_files_tell_is_changed_and_what_they_do_not_is_left(
    cli: Cli, hall: FakeHall, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("apply", "models", "--yes", *URL)
    cli("activate", "m@1", *URL)
    assert hall.registrar.state.active()["m"] == "1"
    client = httpx.Client()
    told = {"licence": {"name": "MIT", "confirmed_by": "me"}, "metadata": {"by": "another"}}
    assert client.patch("/models/m/versions/1", json=told).status_code == 200
    monkeypatch.setenv("IDLE", "90")
    ran = cli("apply", "models/two.yaml", "--yes", *URL)
    assert ran.out.splitlines() == [
        '~ m@1  keep_alive: 60.0 -> 90.0, metadata: {"by": "another"} -> {"by": "$me"}',
        "* m@2  answers for m",
    ]
    entry = client.get("/models/m/versions/1").json()
    assert (entry["licence"]["name"], entry["keep_alive"]) == ("MIT", 90)


def test_only_with_prune_and_only_what_no_node_declares_is_retired(
    cli: Cli, hall: FakeHall, folder: Path
) -> None:
    cli("apply", "models", "--yes", *URL)
    declared = hall.registrar.state.models()[0]
    hall.registry.write(replace(declared, name="theirs", declaration="d" * 64))
    (folder / "two.yaml").write_text("")
    assert cli("apply", "models", "--yes", *URL).err == "nothing to do: 0 models as the files say\n"
    ran = cli("apply", "models", "--yes", "--prune", *URL)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "- m@1  is retired",
        "- echo@1  is retired",
        "- m@2  is retired",
    ]
    assert set(_versions(hall)) == {"theirs@1"}


def test_a_plan_is_json_too(cli: Cli, hall: FakeHall, folder: Path) -> None:
    ran = cli("apply", "models", "--yes", "--json", *URL)
    assert [(step["do"], step["name"], step["version"]) for step in ran.json] == [
        ("add", "m", "1"),
        ("add", "m", "2"),
    ]
    assert cli("activate", "m@1", "--json", *URL).json["active"] == "1"
    assert _versions(hall).keys() == {"echo@1", "m@1", "m@2"}


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ("task: sleep, parameters: {ms: fast}", "its parameters: parameter `ms` must be a number"),
        (
            "task: txt2txt, options: {token_pool: abc}",
            "its option `token_pool` must be an integer from 1 to 1073741824",
        ),
    ],
)
def test_what_no_engine_takes_is_told_before_anything_is_changed(
    cli: Cli, hall: FakeHall, folder: Path, told: str, fault: str
) -> None:
    (folder / "wrong.yaml").write_text(f"{{name: w, source: /w, {told}}}")
    ran = cli("apply", "models", "--yes", *URL)
    assert ran.code == 2
    assert f"wrong.yaml: w: {fault}" in ran.err
    assert _versions(hall).keys() == {"echo@1"}


def test_a_model_is_made_the_default_of_its_task(cli: Cli, hall: FakeHall, folder: Path) -> None:
    cli("apply", "models", "--yes", *URL)
    ran = cli("activate", "m", "--default", *URL)
    assert (ran.code, ran.out) == (0, "m@2\n")
    assert ran.err == "requests that name the task echo alone go to m@2 now\n"
    assert hall.registrar.state.defaults() == {"echo": "m"}
    both = cli("activate", "echo@1", "--default", *URL)
    assert both.err.splitlines() == [
        "requests that name echo alone, and are made in 10 s or later, go to echo@1",
        "requests that name the task echo alone go to echo@1 now",
    ]
    assert hall.registrar.state.defaults() == {"echo": "echo"}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("apply", "nowhere"), 3, "there is no file or folder nowhere"),
        (("activate", "m"), 2, "m must be NAME@VERSION"),
        (("activate", "m@", "--default"), 2, "m@ must be NAME@VERSION"),
        (("activate", "m", "--default"), 3, "m has no active version"),
        (("activate", "m@1"), 3, "m@1 is not registered"),
    ],
)
def test_what_cannot_be_done_is_told(
    cli: Cli, hall: FakeHall, arguments: tuple[str, ...], code: int, told: str
) -> None:
    ran = cli(*arguments, *URL)
    assert ran.code == code
    assert told in ran.err
    assert len(hall.registry.log) == 2


ROUTED = """\
routes:
  - name: m
    weights: {"1": 90, "2": 10}
    sticky: principal
    rules: [{header: x-cohort, value: beta, version: "2"}]
"""


def test_files_say_how_names_are_answered(cli: Cli, hall: FakeHall, folder: Path) -> None:
    (folder / "two.yaml").write_text(TWO.replace(", active: true", "") + ROUTED)
    done = cli("apply", "models", "--yes", *URL)
    assert done.out.splitlines()[-1] == "> m  is answered by 1 90 %, 2 10 %"
    assert done.err.splitlines() == ["2 to add, 1 to route", "done"]
    assert hall.registrar.state.told_route("m")[-1][1].weights == {"1": 90, "2": 10}
    again = cli("apply", "models", "--yes", *URL)
    assert again.err == "nothing to do: 2 models and 1 route as the files say\n"
    less = 'models: [{name: m, task: echo, source: /b, version: "2"}]\n'
    (folder / "two.yaml").write_text(less + 'routes: [{name: m, weights: {"2": 1}}]\n')
    pruned = cli("apply", "models", "--yes", "--prune", *URL)
    assert pruned.code == 0, "first nothing is answered by it, then it is retired"
    assert "m@1" not in _versions(hall)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("routes: [{name: m, weights: {}}]", "routes[0]: weights"),
        ("routes: [{name: m, weights: {a: 1}}, {name: m, weights: {a: 1}}]", "m has two routes"),
        ("routes: [{name: m, weights: {1: 1}}]", "a valid string; put it in quotes"),
        ("routes: {m: 1}", "routes must be a list"),
        ("routes: []\nname: m", "name stands beside `routes`"),
        (TWO + "routes: [{name: m, weights: {'1': 1}}]", "m: 2 and its route cannot both"),
    ],
)
def test_a_file_whose_routes_cannot_be_meant_says_why(
    cli: Cli, hall: FakeHall, folder: Path, text: str, told: str
) -> None:
    (folder / "two.yaml").write_text(text)
    ran = cli("apply", "models", "--yes", *URL)
    assert ran.code == 2
    assert told in ran.err
    assert _versions(hall).keys() == {"echo@1"}


def test_routes_are_set_shown_and_listed(cli: Cli, hall: FakeHall, folder: Path) -> None:
    cli("apply", "models", "--yes", *URL)
    told = cli("routes", "set", "m", "1=3", "2=1", "--rule", "x-cohort=a:b:2", *URL)
    assert (told.code, told.out) == (0, "m: 1 75 %, 2 25 %\n")
    assert told.err.startswith("it counts for requests that are made from ")
    kept = cli("routes", "set", "m", "--sticky", "header:x-user", *URL)
    assert kept.out == "m: 1 75 %, 2 25 %\n"
    route = hall.registrar.state.told_route("m")[-1][1]
    assert (route.sticky, route.rules[0].value) == ("header:x-user", "a:b")
    assert cli("routes", "list", *URL).out.splitlines()[1:] == [
        "echo  1               -              -               -",
        "m     1 75 %, 2 25 %  header:x-user  x-cohort=a:b:2  -",
    ]
    assert len(cli("routes", "show", "m", *URL).out.splitlines()) == 5
    copied = cli("routes", "set", "m", "1", "--shadow", "2=10", *URL)
    assert (copied.out, "no copies" in copied.err) == ("m: 1; copies to 2 10 %\n", False)
    assert hall.registrar.state.told_route("m")[-1][1].shadow == {"2": 10}
    assert cli("routes", "list", *URL).out.splitlines()[2].endswith("  2 10 %")
    back = cli("routes", "set", "m", "2", "--no-rules", *URL)
    assert back.out == "m: 2; copies to 2 10 %\n"
    assert "m@2 answers all of it itself, so it gets no copies" in back.err
    shown = cli("routes", "show", "m", "--json", *URL).json
    assert (shown["rules"], shown["shadow"]) == ([], {"2": 10})
    cli("routes", "set", "m", "--no-shadow", *URL)
    assert cli("routes", "show", "m", "--json", *URL).json["shadow"] == {}


def test_what_is_to_answer_and_has_failed_everywhere_is_named(
    cli: Cli, hall: FakeHall, folder: Path
) -> None:
    cli("apply", "models", "--yes", *URL)
    hall.reasons = {"m": "its files are broken"}
    told = cli("routes", "set", "m", "1=1", "2=1", *URL)
    assert (told.code, told.err.splitlines()[-1]) == (
        0,
        "m@1 is failed on all nodes: its files are broken",
    )
    ruled = cli("routes", "set", "m", "2", "--rule", "x-cohort=a:1", *URL)
    assert "m@1 is failed on all nodes" in ruled.err
    assert "m@1" not in cli("routes", "set", "m", "1=0", "2=1", "--no-rules", *URL).err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("m",), 2, "say what is to change"),
        (("m", "1=x"), 2, "1=x must be VERSION=WEIGHT, such as 2=5"),
        (("m", "1=1", "1=2"), 2, "1 has two weights"),
        (("m", "1=1", "2"), 2, "2 must be VERSION=WEIGHT"),
        (("m", "9"), 3, "m@9 is not registered; m has 1, 2"),
        (("m", "--rule", "beta"), 2, "beta must be HEADER=VALUE:VERSION"),
        (("m", "--rule", "x=1,y=2:2"), 2, "x=1,y=2:2 must be HEADER=VALUE:VERSION"),
        (("m", "--rule", "lane=slow:2"), 1, "lane"),
        (("m", "--rule", "lane=low,lane=high:2"), 2, "lane=low,lane=high:2 must be HEADER=VALUE"),
        (("m", "--rule", "x:2", "--no-rules"), 2, "not both"),
        (("m", "--sticky", "cookie"), 1, "sticky"),
        (("m", "--shadow", "2"), 2, "2 must be VERSION=PERCENT, such as 2=10"),
        (("m", "--shadow", "2=0"), 2, "2=0 must be VERSION=PERCENT"),
        (("m", "--shadow", "2=101"), 2, "2=101 must be VERSION=PERCENT, such as 2=10, of 1 to 100"),
        (("m", "--shadow", "2=1", "--shadow", "2=3"), 2, "2 has two parts of the requests"),
        (("m", "--shadow", "2=1", "--no-shadow"), 2, "not both"),
        (("m", "--shadow", "9=1"), 3, "m@9 is not registered; m has 1, 2"),
        (("none", "1"), 3, "none is not registered"),
    ],
)
def test_a_route_that_cannot_be_set_is_told_in_a_line(
    cli: Cli, hall: FakeHall, folder: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    cli("apply", "models", "--yes", *URL)
    log = [*hall.registry.log]
    ran = cli("routes", "set", *arguments, *URL)
    assert (ran.code, ran.out) == (code, "")
    assert told in ran.err
    assert ran.err.count("\n") == 1
    assert hall.registry.log == log
