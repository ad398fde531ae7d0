"""The doctor finds what is wrong, says how to mend it, and exits 1."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelmora.host.runfile import RunInfo, write_run
from tests.unit.cli.runs import Cli, Ran, door, pretend_running

FREE = "http_port: 0\ngrpc_port: 0\nnode_http_port: 0\n"


@pytest.fixture(autouse=True)
def _ports_of_nobody(cli: Cli, tmp_path: Path) -> None:
    """The usual ports may be taken on the machine that runs the tests."""
    (tmp_path / "modelmora.yaml").write_text(FREE)


def found(ran: Ran, check: str) -> dict[str, Any]:
    (finding,) = [finding for finding in ran.json if finding["check"] == check]
    return dict(finding)


def test_a_sound_installation(cli: Cli) -> None:
    ran = cli("doctor", "--json")
    assert ran.code == 0
    assert not [finding for finding in ran.json if finding["state"] == "WRONG"]
    assert found(ran, "broker")["found"] == "none named: `modelmora serve` starts its own"
    plain = cli("doctor")
    assert plain.err == "nothing is wrong\n"
    assert plain.out.splitlines()[1].split()[:2] == ["ok", "platform"]


def test_what_an_instance_left_behind_is_wrong(cli: Cli, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / ".modelmora").mkdir()
    write_run(tmp_path / ".modelmora", RunInfo("h:1", None, None, None, gone.pid))
    ran = cli("doctor", "--json")
    assert ran.code == 1
    assert found(ran, "instance")["state"] == "WRONG"
    assert "rm .modelmora/run.json" in found(ran, "instance")["fix"]


def test_a_port_that_is_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        Path("modelmora.yaml").write_text(FREE.replace("http_port: 0", f"http_port: {port}", 1))
        ran = cli("doctor", "--json")
    assert ran.code == 1
    assert str(port) in found(ran, "http_port")["found"]
    assert "--http-port 0" in found(ran, "http_port")["fix"]


def test_a_broker_that_is_away(cli: Cli) -> None:
    ran = cli("doctor", "--bootstrap-servers", "127.0.0.1:1", "--json")
    assert ran.code == 1
    assert found(ran, "broker")["state"] == "WRONG"


def test_a_role_without_a_broker(cli: Cli) -> None:
    Path("modelmora.yaml").write_text(FREE + "role: gateway\n")
    ran = cli("doctor", "--json")
    assert ran.code == 1
    assert "--bootstrap-servers" in found(ran, "broker")["fix"]


def test_a_broken_definition_and_a_model_whose_files_are_gone(cli: Cli, tmp_path: Path) -> None:
    Path("modelmora.yaml").write_text(
        FREE + "models: [{name: a, task: txt2embed, source: /not/there}]\n"
    )
    broken = tmp_path / ".modelmora/models/b/1.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("[")
    ran = cli("doctor", "--json")
    assert ran.code == 1
    assert "/not/there" in found(ran, "model a@1")["found"]
    assert "1.yaml" in found(ran, "model b@1")["found"]


@pytest.mark.parametrize(("status", "state"), [(200, "ok"), (503, "WRONG")])
def test_the_doors_of_a_running_instance(cli: Cli, tmp_path: Path, status: int, state: str) -> None:
    gateway_says = {"ready": status == 200, "faults": ["no broker"]}
    node_says = {
        "status": "...",
        "checks": {"broker": True, "workers": False, "requests": False},
        "why": {"requests": "nothing was fetched for 16 s"},
    }
    with (
        door({"/health/ready": (status, gateway_says)}) as gateway,
        door({"/health/ready": (status, node_says)}) as node,
    ):
        pretend_running(tmp_path / ".modelmora", http=gateway.url, node_http=node.url)
        ran = cli("doctor", "--json")
    assert found(ran, "gateway")["state"] == found(ran, "node")["state"] == state
    if status == 503:
        assert found(ran, "gateway")["found"] == "not ready: no broker"
        assert found(ran, "node")["found"] == (
            "not ready: workers, requests (nothing was fetched for 16 s)"
        )
    assert found(ran, "instance")["found"].startswith(f"process {os.getpid()} runs")


def test_what_not_all_requests_need_is_noted(cli: Cli, tmp_path: Path) -> None:
    ready, unwell = {"ready": True, "faults": []}, {"degraded": {"batches": "not read"}}
    node_says = {"status": "ready", "degraded": {"disk": "it is full"}}
    with (
        door({"/health/ready": (200, ready), "/health": (200, unwell)}) as gateway,
        door({"/health/ready": (200, node_says)}) as node,
    ):
        pretend_running(tmp_path / ".modelmora", http=gateway.url, node_http=node.url)
        ran = cli("doctor", "--json")
    for name, told in (("node", "disk: it is full"), ("gateway", "batches: not read")):
        assert found(ran, name)["state"] == "note"
        assert told in found(ran, name)["found"]
