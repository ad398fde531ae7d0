"""What a verb speaks to: the running instance of a folder, or what is named instead."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelmora.errors import ConfigurationError, ModelMoraError, Unreachable
from modelmora.host.instance import Instance, Talk, find, problem, url_of
from modelmora.host.runfile import NAME, RunInfo, read_run, write_run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("MODELMORA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    data = tmp_path / ".modelmora"
    data.mkdir()
    return data


@pytest.fixture
def broker() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def write(folder: Path, **facts: Any) -> None:
    least: dict[str, Any] = {"bootstrap_servers": "x:1", "pid": os.getpid()}
    nothing: dict[str, Any] = dict.fromkeys(("http", "grpc", "node_http"))
    write_run(folder, RunInfo(**least | nothing | facts))


def test_all_that_finds_it_is_in_the_run_file(folder: Path, broker: str) -> None:
    write(folder, bootstrap_servers=broker, namespace="team-a", processes={"broker": 1})
    told: list[str] = []

    @contextmanager
    def waiting(_what: str) -> Iterator[None]:
        yield

    settings = find(talk=Talk(told.append, waiting)).kafka()
    assert (settings.namespace, settings.bootstrap_servers) == ("team-a", broker)
    assert settings.topics.partitions == 12
    assert told == [f"team-a at {broker}"]


def test_what_is_named_goes_first(
    folder: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, bootstrap_servers=broker, namespace="team-a")
    assert find(namespace="team-b").kafka().namespace == "team-b"
    assert find(bootstrap_servers=broker).kafka().namespace == "modelmora"
    monkeypatch.setenv("MODELMORA_NAMESPACE", "team-c")
    assert find().kafka().namespace == "team-c"


def test_it_is_spoken_to_with_the_settings_it_was_started_with(
    folder: Path, broker: str, tmp_path: Path
) -> None:
    theirs, other = tmp_path / "team.yaml", tmp_path / "other.yaml"
    theirs.write_text("data_dir: elsewhere\nkafka: {sasl_username: team}\n")
    other.write_text("kafka: {sasl_username: other}\n")
    write(folder, bootstrap_servers=broker, config=str(theirs))
    found = find()
    assert found.settings.kafka.sasl_username == "team"
    assert found.settings.data_dir == Path(".modelmora")
    assert find(config=other).settings.kafka.sasl_username == "other"
    theirs.unlink()
    assert find().settings.kafka.sasl_username is None


def test_a_part_that_is_starting_again_is_no_riddle(folder: Path, broker: str) -> None:
    write(
        folder,
        bootstrap_servers="127.0.0.1:1",
        http="http://127.0.0.1:1",
        node_http="http://127.0.0.1:1",
        starting={"node": time.time() - 3, "broker": time.time()},
    )
    with pytest.raises(Unreachable, match=r"the node is starting again \(\d+(\.\d)? s\)"):
        find().ask_node("GET", "/health/models")
    with pytest.raises(Unreachable, match="the broker is starting again"):
        find().kafka()
    with pytest.raises(Unreachable, match="cannot be reached"):
        find().ask_gateway("GET", "/models")


def test_one_that_dies_while_it_is_asked(folder: Path) -> None:
    write(folder, node_http="http://127.0.0.1:1")
    found = find()
    write(folder, node_http="http://127.0.0.1:1", starting={"node": time.time()})
    with pytest.raises(Unreachable, match="the node is starting again"):
        found.ask_node("GET", "/health/models")


def test_nothing_runs(folder: Path) -> None:
    for ask in (Instance.kafka, lambda found: found.ask_node("GET", "/")):
        with pytest.raises(Unreachable, match=r"runs on \.modelmora; start `modelmora serve`"):
            ask(find())


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("http://a:1/", "http://a:1"),
        ("https://a.b", "https://a.b"),
        ("https://a.b/behind/a/proxy", "https://a.b/behind/a/proxy"),
    ],
)
def test_urls(given: str, url: str) -> None:
    assert url_of(given) == url


@pytest.mark.parametrize("given", ["", "localhost", "ftp://a:1", "http://", "http://a:x", ":80"])
def test_what_is_no_url(given: str) -> None:
    with pytest.raises(ConfigurationError, match="must be host:port or http://host:port"):
        url_of(given)


def test_a_run_file_of_another_version_is_read(folder: Path) -> None:
    write(folder, http="http://127.0.0.1:2")
    path = folder / NAME
    row = json.loads(path.read_text())
    for name in ("namespace", "config", "started_at", "starting"):
        del row[name]
    path.write_text(json.dumps(row | {"of_tomorrow": 1}))
    info = read_run(folder)
    assert info is not None
    assert (info.http, info.namespace, info.starting) == ("http://127.0.0.1:2", None, {})


def test_it_is_asked_with_our_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def request(_: httpx.Client, *_args: object, **options: Any) -> httpx.Response:
        asked.append(options.get("headers"))
        return httpx.Response(401, json={"code": "unauthenticated", "detail": "no"})

    monkeypatch.setattr(httpx.Client, "request", request)
    write(folder, http="http://127.0.0.1:1")
    for _ in range(2):
        with pytest.raises(ModelMoraError, match="MODELMORA_ACCESS__KEY"):
            find().ask_gateway("GET", "/models")
        monkeypatch.setenv("MODELMORA_ACCESS__KEY", "mm_x")
    with pytest.raises(ModelMoraError):
        find().ask_gateway("GET", "/models", headers={"if-match": '"5"'})
    ours = {"authorization": "Bearer mm_x"}
    assert asked == [None, ours, {"if-match": '"5"', **ours}]


def test_when_to_try_again_is_said_once() -> None:
    wait = {"Retry-After": "2"}
    told = {"code": "rate_limited", "detail": "the budget a is used up; try again in 2 s"}
    assert str(problem(httpx.Response(429, headers=wait, json=told))).count("try again in") == 1
    told["detail"] = "too many wait"
    assert str(problem(httpx.Response(429, headers=wait, json=told))).endswith("(try again in 2 s)")
