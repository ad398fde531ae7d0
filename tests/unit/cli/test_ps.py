"""`ps` shows what the node says of its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.cli.runs import Cli, door, pretend_running

MODELS: list[dict[str, Any]] = [
    {
        "name": "m",
        "version": "1",
        "state": "ready",
        "device": "cpu",
        "pid": 7,
        "memory_bytes": 34_000_000,
        "waiting": 3,
        "running": 1,
        "idle_s": 90.0,
        "leaves_s": 30.0,
        "pinned": False,
    },
    {
        "name": "n",
        "version": "1",
        "state": "cold",
        "pid": None,
        "memory_bytes": 0,
        "waiting": 0,
        "running": 0,
        "idle_s": None,
    },
]


def test_models_of_the_running_node(cli: Cli, tmp_path: Path) -> None:
    with door({"/health/models": (200, MODELS)}) as node:
        pretend_running(tmp_path / ".modelmora", node_http=node.url)
        assert cli("ps", "--json").json == MODELS
        lines = cli("ps").out.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "VERSION", "STATE", "DEVICE", "PID", "RAM", "GPU", "QUEUE", "IDLE", "UNTIL"],
        ["m", "1", "ready", "cpu", "7", "34", "MB", "-", "4", "90", "s", "30", "s"],
        ["n", "1", "cold", "-", "-", "-", "-", "0", "-", "-"],
    ]


def test_until_when_it_stays_as_it_is(cli: Cli, tmp_path: Path) -> None:
    rows = [
        {**MODELS[0], "name": "kept", "pinned": True},
        {**MODELS[1], "name": "bad", "state": "quarantined", "retry_after_ms": 60_000},
    ]
    rows[1]["reason"] = "its worker died"
    with door({"/health/models": (200, rows)}) as node:
        pretend_running(tmp_path / ".modelmora", node_http=node.url)
        ran = cli("ps")
    assert [line.split()[-1] for line in ran.out.splitlines()[1:]] == ["pinned", "s"]
    assert ran.err.splitlines()[1] == (
        "bad@1: its worker died; the first request in 60 s tries again, "
        "`modelmora load bad` at once"
    )


def test_why_a_model_has_failed_and_what_becomes_of_it(cli: Cli, tmp_path: Path) -> None:
    reasons = {"a": None, "b": 0, "c": 186_490}
    rows = [
        {**MODELS[1], "name": name, "state": "failed", "reason": f"of {name}", "retry_after_ms": ms}
        for name, ms in reasons.items()
    ]
    with door({"/health/models": (200, rows)}) as node:
        pretend_running(tmp_path / ".modelmora", node_http=node.url)
        assert cli("ps").err.splitlines()[1:] == [
            "a@1: of a; it is served again once that is mended",
            "b@1: of b; the next request tries again",
            "c@1: of c; the first request in 3 min 6 s tries again",
        ]


def test_a_node_that_does_not_answer_is_exit_code_4(cli: Cli, tmp_path: Path) -> None:
    pretend_running(tmp_path / ".modelmora", node_http="http://127.0.0.1:1")
    assert cli("ps").code == 4
