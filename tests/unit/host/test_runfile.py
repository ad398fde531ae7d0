"""run.json: written whole, read only while its instance runs."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from modelmora.host.runfile import RunInfo, read_run, remove_run, write_run

INFO = RunInfo(
    bootstrap_servers="127.0.0.1:1",
    http="http://127.0.0.1:2",
    grpc="127.0.0.1:3",
    node_http=None,
    pid=os.getpid(),
    processes={"broker": 2, "node": 3, "gateway": 4, "zygote": None},
)


def test_round_trip(tmp_path: Path) -> None:
    write_run(tmp_path, INFO)
    assert read_run(tmp_path) == INFO
    assert json.loads((tmp_path / "run.json").read_text()) == {
        "bootstrap_servers": "127.0.0.1:1",
        "http": "http://127.0.0.1:2",
        "grpc": "127.0.0.1:3",
        "node_http": None,
        "pid": os.getpid(),
        "processes": {"broker": 2, "node": 3, "gateway": 4, "zygote": None},
        "namespace": None,
        "config": None,
        "started_at": None,
        "starting": {},
        "inode": None,
        "log": None,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    remove_run(tmp_path)
    remove_run(tmp_path)
    assert read_run(tmp_path) is None


def test_another_version_may_say_less_or_more(tmp_path: Path) -> None:
    text = f'{{"pid": {os.getpid()}, {DOORS}, "processes": {{"broker": 2}}, "more": 1}}'
    (tmp_path / "run.json").write_text(text)
    info = read_run(tmp_path)
    assert info
    assert dict(info.processes) == {"broker": 2, "node": None, "gateway": None, "zygote": None}


def test_in_a_copy_it_stands_for_nobody(tmp_path: Path) -> None:
    ours, copied, moved = (tmp_path / name for name in ("ours", "copied", "moved"))
    ours.mkdir()
    write_run(ours, dataclasses.replace(INFO, inode=ours.stat().st_ino))
    shutil.copytree(ours, copied)
    assert read_run(copied) is None
    assert read_run(ours.rename(moved)) is not None


def test_stale_when_its_process_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    write_run(tmp_path, dataclasses.replace(INFO, pid=process.pid))
    assert read_run(tmp_path) is None


def test_stale_when_its_pid_belongs_to_a_younger_process(tmp_path: Path) -> None:
    write_run(tmp_path, INFO)
    os.utime(tmp_path / "run.json", (1_000_000, 1_000_000))
    assert read_run(tmp_path) is None


DOORS = '"bootstrap_servers": "k:1", "http": null, "grpc": null, "node_http": null'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"pid": 1, "processes": 7}',
        '{"pid": 1, "processes": {"broker": 1}, "bootstrap_servers": 5, "http": 7}',
        f'{{"pid": 1, {DOORS}, "starting": [1]}}',
        f'{{"pid": 1, {DOORS}, "config": 5}}',
        f'{{"pid": -1, {DOORS}}}',
        f'{{"pid": 99999999999999999999, {DOORS}}}',
    ],
)
def test_unreadable_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert read_run(tmp_path) is None
