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
        "pid": 7,
        "memory_bytes": 34_000_000,
        "waiting": 3,
        "running": 1,
        "idle_s": 90.0,
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
        ["NAME", "VERSION", "STATE", "PID", "RAM", "WAITING", "RUNNING", "IDLE"],
        ["m", "1", "ready", "7", "34", "MB", "3", "1", "90", "s"],
        ["n", "1", "cold", "-", "-", "0", "0", "-"],
    ]


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
