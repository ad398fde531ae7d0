"""The broker's log: bounded, and read for the one line that tells why it ended."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from modelmora.broker import javalog
from modelmora.broker.javalog import JavaLog, fault_of

NO_SPACE = "2026 [main] ERROR kafka.Log - Error: java.io.IOException: No space left on device"


def pumped(log: JavaLog, output: bytes) -> None:
    ended = threading.Event()
    log.pump(io.BytesIO(output), ended.set)
    assert ended.wait(30)
    assert log.started.wait(30)


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(javalog, "LIMIT_BYTES", 1000)
    log = JavaLog(tmp_path / "kafka.log", "ready")
    pumped(log, b"".join(b"line %04d\n" % number for number in range(1000)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kafka.log", "kafka.log.1"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert log.path.read_text().endswith("line 0999\n")
    assert log.tail[-1] == "line 0999"


def test_a_log_that_cannot_be_written_is_still_read(tmp_path: Path) -> None:
    log = JavaLog(tmp_path / "missing" / "kafka.log", "ready")
    pumped(log, b"one\n\xff\ntwo\n")
    assert list(log.tail) == ["one", "\ufffd", "two"]


@pytest.mark.parametrize(
    ("lines", "says", "exit_code"),
    [
        ([NO_SPACE, "at x.y"], "is full", 1),
        (["Caused by: java.net.BindException: Address already in use"], "port was taken", 2),
        (["Failed to acquire lock on file .lock"], "another broker uses", 2),
        (["java.nio.file.AccessDeniedException: /x"], "cannot write", 2),
        (["INFO fine", "x ERROR the reason", "INFO bye"], "the reason", 1),
        (["x", "Caused by: java.io.IOException: File too large"], "ended: File too large (see", 1),
        (["Caused by: java.io.IOException: Too many open files"], "`ulimit -n 4096` allows", 1),
        (["just this"], "just this", 1),
        ([], "said nothing", 1),
    ],
)
def test_faults(tmp_path: Path, lines: list[str], says: str, exit_code: int) -> None:
    fault = fault_of(tuple(lines), tmp_path / "kafka.log")
    assert says in str(fault)
    assert "\n" not in str(fault)
    assert fault.exit_code == exit_code
