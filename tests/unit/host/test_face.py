"""What a person sees of `serve`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from modelmora.host.face import Face, Logged, box, own_command
from modelmora.host.runfile import RunInfo
from modelmora.settings import Settings

INFO = RunInfo(
    bootstrap_servers="127.0.0.1:9092",
    http="http://127.0.0.1:8080",
    grpc="127.0.0.1:9090",
    node_http="http://127.0.0.1:8081",
    pid=1,
    namespace="team-a",
)
MODELS: list[dict[str, Any]] = [
    {"name": "broken", "version": "1", "state": "failed", "reason": "model.safetensors is cut"},
    {"name": "mini", "version": "2", "state": "cold"},
]


def test_all_that_is_needed_stands_in_the_box(tmp_path: Path) -> None:
    long = tmp_path / ("a long folder's name " * 4)
    lines = list(box(Settings(data_dir=long), INFO, MODELS, ("logs -f", "stop")))
    for told in (INFO.bootstrap_servers, INFO.http, INFO.grpc, INFO.node_http, "team-a", str(long)):
        assert any(str(told) in line for line in lines), told
    assert "models broken@1  failed: model.safetensors is cut" in lines
    assert "       mini@2  cold" in lines
    infer, *verbs = lines[-4:-1]
    typed = own_command()
    assert infer == f'{typed} infer mini "Hello, Kafka" --data-dir {quoted(long)}'
    assert verbs == [f"{typed} {verb} --data-dir {quoted(long)}" for verb in ("logs -f", "stop")]


def quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\"'\"'") + "'"


def test_the_default_folder_needs_no_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = list(box(Settings(data_dir=tmp_path / ".modelmora"), INFO, MODELS[:1], ("status",)))
    assert lines[-2] == f"{own_command()} status"
    assert not any(" infer " in line for line in lines), "no model is served"


def test_where_no_person_looks_all_is_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face = Logged()
    with structlog.testing.capture_logs() as told:
        face.phase("node", 1.5)
        face.away("kafka:9092", 5)
        face.ready(Settings(data_dir=tmp_path), INFO, MODELS)
        face.stopping("SIGTERM", 45)
        face.stopped("node", 0.25)
        face.ended(tmp_path)
    assert not capsys.readouterr().err
    assert told[0].items() >= {"event": "part ready", "part": "node", "after_ms": 1500}.items()
    assert told[1]["event"] == "no broker answers at kafka:9092 yet (5 s)"
    ready = {"event": "ready", "rest": INFO.http, "kafka": INFO.bootstrap_servers}
    assert told[2].items() >= ready.items()
    assert told[2]["models"] == {"broken@1": "failed", "mini@2": "cold"}
    assert told[4]["took_ms"] == 250
    assert len(told) == 6


def test_a_terminal_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stderr", gone)
    Face().hurried()
