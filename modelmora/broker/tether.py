"""Ties a program's life to ours: it gets SIGKILL the moment its parent dies, even by kill -9.

Run as a script it sets the parent-death signal on itself and becomes the program (prctl(2),
PR_SET_PDEATHSIG survives execve). The signal follows the *thread* that started the program, so
start long-lived programs from a thread that lives as long: the main thread or the loop's.
A hook between fork and exec would do without the script, but is unsafe beside other threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def tethered(command: Sequence[str]) -> list[str]:
    """The command that runs `command` tied to this process; unchanged where not on Linux."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(parent: int, command: list[str]) -> None:
    """Become `command`; exits when `parent` died before the signal was set."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
