"""`.ci/contained`: a command that leaves a process behind does not pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

CONTAINED = Path(__file__).parents[3] / ".ci" / "contained"


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CONTAINED, "sh", "-c", script], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("code", [0, 3])
def test_exit_code_is_the_commands(code: int) -> None:
    assert run(f"exit {code}").returncode == code


def test_what_is_left_is_told_and_killed() -> None:
    done = run("setsid sleep 1000 > /dev/null 2>&1 & echo $!")
    assert done.returncode == 1
    assert "still running after the command" in done.stderr
    assert "sleep 1000" in done.stderr
    assert not psutil.pid_exists(int(done.stdout))
