"""An instance in the background: ended from outside, with patience, without it, in vain."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from modelmora.broker.lock import FolderLock
from modelmora.errors import ConfigurationError, ModelMoraError
from modelmora.host import detached
from modelmora.host.detached import owner, serve_detached, stop
from modelmora.host.folder import LOCK
from modelmora.host.logfile import log_folder
from modelmora.settings import Settings

STUBBORN = """
import signal, sys, time
told = []
def tell(*_):
    told.append(1)
    print("told", flush=True)
signal.signal(signal.SIGTERM, tell)
print("up", flush=True)
while len(told) < int(sys.argv[1]):
    time.sleep(0.01)
"""


@contextmanager
def program(signals_to_end: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-P", "-c", STUBBORN, str(signals_to_end)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_one_that_was_stopped_while_it_started_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached, "interpreter", lambda _module: ("true",))
    assert serve_detached(Settings(data_dir=tmp_path), None) == 1


def test_a_second_start_leaves_the_words_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(detached, "interpreter", lambda _module: ("sh", "-c", "echo refused >&2"))
    words, lock = log_folder(tmp_path) / "serve.err", FolderLock(tmp_path / LOCK)
    words.parent.mkdir()
    words.write_text("first\n")
    assert lock.acquire()
    serve_detached(Settings(data_dir=tmp_path), None)
    assert (words.read_text(), capsys.readouterr().err) == ("first\nrefused\n", "refused\n")
    lock.release()
    serve_detached(Settings(data_dir=tmp_path), None)
    assert (words.read_text(), capsys.readouterr().err) == ("refused\n", "refused\n")


def test_the_owner_of_a_folder_is_found(tmp_path: Path) -> None:
    assert owner(tmp_path) is None
    lock = FolderLock(tmp_path / LOCK)
    assert lock.acquire()
    assert owner(tmp_path) == os.getpid()
    written = lock.path.read_text()
    assert owner(tmp_path) == os.getpid()
    lock.release()
    assert owner(tmp_path) is None
    assert lock.path.read_text() == written, "who asks leaves nothing behind"
    assert owner(tmp_path / LOCK) is None


def test_who_only_asks_keeps_nobody_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, flock = FolderLock(tmp_path / LOCK), fcntl.flock
    lock.path.touch()
    asker = lock.path.open()
    flock(asker, fcntl.LOCK_SH)

    def leaving(file: IO[str], kind: int) -> None:
        try:
            flock(file, kind)
        except BlockingIOError:
            asker.close()  # it has its answer
            raise

    monkeypatch.setattr(fcntl, "flock", leaving)
    assert lock.acquire()
    assert not FolderLock(lock.path).acquire()
    lock.release()


def test_a_folder_of_another_user_is_not_said_to_be_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_lock: FolderLock) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(FolderLock, "held", refused)
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied"):
        owner(tmp_path)


def test_it_is_waited_for() -> None:
    with program(1) as process:
        stop(process.pid, 60)
        assert process.wait() == 0
    stop(process.pid, 60)


def test_an_interrupt_hurries_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with program(2) as process:

        def interrupted(*_: object) -> None:
            assert process.stdout
            assert process.stdout.readline() == "told\n"
            raise KeyboardInterrupt

        calls = iter((interrupted, select.select))
        monkeypatch.setattr(
            detached, "select", types.SimpleNamespace(select=lambda *given: next(calls)(*given))
        )
        stop(process.pid, 60)
        assert process.wait() == 0


def test_one_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "SLACK_S", 0.1)
    with (
        program(9) as process,
        pytest.raises(ModelMoraError, match=f"`kill -9 {process.pid}` ends it at once"),
    ):
        stop(process.pid, 0)
