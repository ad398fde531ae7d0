"""One claim among processes: held, renewed, taken over from the dead and from the silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from modelmora.registry.sources import lease
from modelmora.registry.sources.lease import claimed

HOLD = """
import sys
from pathlib import Path
from modelmora.registry.sources.lease import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[bytes]:
    """Another process, which holds the claim by now."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.row("F17")
def test_a_claim_is_one_processs_and_the_next_ones_after_it(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "one"
    waited = threading.Event()
    with holder(path) as other:
        got = threading.Event()

        def wait() -> None:
            with claimed(path, waited.set):
                got.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert waited.wait(30)
        assert not got.is_set()
        assert other.stdin
        other.stdin.close()
        thread.join(30)
        assert got.is_set()
        other.wait()
        assert other.stdout
        other.stdout.close()
    assert not path.exists()
    assert not [*path.parent.iterdir()]


@pytest.mark.row("F17")
def test_what_a_killed_process_held_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "one"
    with holder(path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert path.exists()
    with claimed(path, lease_s=1e9):
        assert str(os.getpid()) in path.read_text()


@pytest.mark.row("F17")
def test_what_another_machine_held_is_taken_over_when_it_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("another-machine 1 1.0 token")
    with claimed(path, lease_s=0.3):
        assert "another-machine" not in path.read_text()


def test_an_owner_that_renews_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one"
    monkeypatch.setattr(lease, "_machine", lambda: "there")
    with claimed(path, lease_s=0.5):
        monkeypatch.setattr(lease, "_machine", lambda: "here")
        before = path.stat().st_mtime_ns
        seen = {before}
        while len(seen) < 4:
            seen.add(path.stat().st_mtime_ns)
        assert path.read_text().startswith("there")


@pytest.mark.row("F17")
def test_of_many_that_see_a_dead_owner_one_at_a_time_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("another-machine 1 1.0 token")
    inside, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with claimed(path, lease_s=2):
            with guard:
                inside += 1
                most = max(most, inside)
            with guard:
                inside -= 1

    os.utime(path, (1, 1))
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
