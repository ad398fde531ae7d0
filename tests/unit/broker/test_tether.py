"""A tethered program dies with its parent, even when that is killed with -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from modelmora.broker.tether import tethered
from tests.programs import ROOT, alive, eventually

PARENT = """
import subprocess, sys
from modelmora.broker.tether import tethered
child = subprocess.Popen(tethered(["sleep", "600"]))
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_killed_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not alive(child), "the child is dead")


def test_it_becomes_the_program() -> None:
    done = subprocess.run(
        tethered(["sh", "-c", "echo $PPID; exit 7"]), capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == (str(os.getpid()), 7)


def test_a_parent_that_is_gone_already() -> None:
    command = tethered(["true"])
    command[command.index(str(os.getpid()))] = "1"
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_no_such_program() -> None:
    done = subprocess.run(tethered(["/nonexistent"]), capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "/nonexistent: No such file or directory"
