"""`status`, `stop` and `logs` of an instance that this test pretends to be."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmora.broker.lock import FolderLock
from modelmora.cli import instance
from modelmora.cli.instance import readable
from modelmora.host.folder import LOCK
from modelmora.host.logfile import log_file
from tests.unit.cli.runs import Cli, door, pretend_running

READY = {"status": "ready"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / ".modelmora"
    path.mkdir()
    return path


@pytest.fixture
def owned(folder: Path) -> Iterator[Path]:
    lock = FolderLock(folder / LOCK)
    assert lock.acquire()
    yield folder
    lock.release()


@pytest.fixture(autouse=True)
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, unless the test has one of its own."""
    if "mute" not in request.fixturenames:
        monkeypatch.setattr(instance, "_broker_says", lambda *_: "ready")


@pytest.fixture
def mute() -> Iterator[str]:
    """What takes connections and never says a word, as a process that is frozen."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_broker_that_only_takes_connections_is_not_ready(
    cli: Cli, owned: Path, mute: str
) -> None:
    with door({"/health/ready": (200, READY), "/health/models": (200, [])}) as node:
        pids = {"broker": 1, "node": 2}
        pretend_running(owned, node_http=node.url, processes=pids, bootstrap_servers=mute)
        ran = cli("status", "--json")
    assert (ran.code, ran.json["ready"]) == (1, False)
    assert [each["state"] == "ready" for each in ran.json["parts"]] == [False, True]


def test_nothing_runs(cli: Cli) -> None:
    assert (cli("status").code, cli("stop").code, cli("logs").code) == (3, 0, 3)
    assert cli("stop").err == "nothing runs on .modelmora\n"
    assert "`modelmora serve` starts an instance" in cli("status").err


def test_one_that_starts(cli: Cli, owned: Path) -> None:
    ran = cli("status", "--json")
    assert (ran.code, ran.json["ready"], ran.json["parts"]) == (1, False, [])
    assert "is starting" in cli("status").err


def test_each_part_says_how_it_is(cli: Cli, owned: Path) -> None:
    failed = {"name": "m", "version": "1", "state": "failed", "reason": "its file is cut"}
    with (
        door({"/health/ready": (200, READY), "/health/models": (200, [failed])}) as node,
        door({"/health/ready": (503, {"faults": ["no node serves"]})}) as gateway,
    ):
        pids = {"broker": 1, "node": 2, "gateway": 3}
        pretend_running(owned, node_http=node.url, http=gateway.url, processes=pids)
        ran = cli("status")
        assert ran.code == 1
        assert "no node serves" in ran.out
        assert "m@1" in ran.out
        assert "its file is cut" in ran.out
        told = cli("status", "--json").json
        assert [part["state"] for part in told["parts"]][:2] == ["ready", "ready"]
        assert told["models"] == [failed]
        pretend_running(owned, node_http=node.url, processes=pids)
        pids["gateway"] = None  # type: ignore[assignment]
        pretend_running(owned, node_http=node.url, processes=pids)
        assert cli("status").code == 0
        pretend_running(owned, node_http=node.url, starting={"node": time.time() - 65})
        assert re.search(r"starting again \(\S+ s\)", cli("status").out)


def test_stop_waits_for_the_owner(cli: Cli, owned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float]] = []
    monkeypatch.setattr(instance, "stop_process", lambda *given: asked.append(given))
    ran = cli("stop")
    assert ran.code == 0
    assert "stay in .modelmora" in ran.err
    assert [timeout_s for _, timeout_s in asked] == [45]


def test_the_log_is_read_as_people_read(cli: Cli, folder: Path) -> None:
    path = log_file(folder)
    path.parent.mkdir()
    row = {
        "timestamp": "2026-01-02T03:04:05.678901Z",
        "level": "info",
        "process": "node",
        "logger": "modelmora.node",
        "event": "loaded",
        "model": "m\x1b[2J",
        "load_ms": 517.2,
        "private_bytes": 48_283_648,
        "error": None,
        "frames": ["a", "b"],
    }
    path.write_text(f"not json\n{json.dumps(row)}\n")
    ran = cli("logs")
    first, second = ran.out.splitlines()
    assert first == "not json"
    assert second.endswith("node    loaded model=m\\x1b[2J load=517ms private=48MB")
    assert "modelmora.node" not in second
    assert "frames" not in second
    assert cli("logs", "--last", "1", "--json").json == row
    elsewhere = folder / "elsewhere.log"
    elsewhere.write_text("there\n")
    pretend_running(folder, log=str(elsewhere))
    assert cli("logs").out == "there\n", "where the running instance logs to"
    odd = '{"timestamp": "2026-01-02T03:04:05Z", "level": [], "event": null}'
    assert readable(odd).endswith("[]              None")
    assert readable('{"timestamp": 1}') == '{"timestamp": 1}'
