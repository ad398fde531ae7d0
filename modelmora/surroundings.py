"""What a parent process hands over or withholds: made usable before anything else happens."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Literal

from modelmora.errors import ConfigurationError

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals by which terminals and init systems end a process; each asks ours for a drain."""
INTERRUPTED = 130
"""The exit code after SIGINT, as shells have it; after another signal to end it is 0."""
STREAMS = 3
OPEN_FILES = 65_536


def interpreter(module: str) -> tuple[str, ...]:
    """The command that runs a module of ours, the working directory left out of its path."""
    return (sys.executable, "-P", "-m", module)


def settle() -> None:
    """Make streams, signals and folder usable. Raises ConfigurationError where that cannot be.

    Closed standard streams would give their numbers to the next files opened; a parent's ignored
    SIGCHLD loses exit codes, its blocked signals a stop; text that the terminal's encoding lacks
    is escaped; the usual limit of 1,024 open files is too low for a gateway's callers; and no core
    files are left.
    """
    for number in range(STREAMS):
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ENDING, signal.SIGCHLD))
    _allow_open_files()
    _leave_no_core()
    try:
        os.getcwd()  # noqa: PTH109  (a path is not what is wanted)
    except OSError:
        raise ConfigurationError(
            "the working directory is gone; change to one that exists and try again"
        ) from None


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _leave_no_core() -> None:
    """A core file would hold our secrets, and what callers sent; who needs one raises the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def connections(most: int) -> int:
    """How many connections of one kind to hold: `most`, or a quarter of the files that may be open.

    What the process itself opens must find room beside those of callers who only sit there.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else min(most, max(1, soft // 4))


def ended_by(number: signal.Signals) -> int:
    """The exit code of a process that has drained after this signal."""
    return INTERRUPTED if number == signal.SIGINT else 0


def _nowhere(mode: Literal["r", "w"]) -> io.TextIOWrapper:
    return open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123  (kept for good)


def on_ending(tell: Callable[[signal.Signals], object]) -> Callable[[], None]:
    """Have `tell` called on this loop with each signal to end; returns what takes that back.

    One that a parent had us ignore, as nohup(1) does and shells do for background jobs, stays
    ignored, but for SIGTERM.
    """
    loop = asyncio.get_running_loop()
    taken = [
        number
        for number in ENDING
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN
    ]
    for number in taken:
        loop.add_signal_handler(number, tell, number)

    def give_back() -> None:
        for number in taken:
            loop.remove_signal_handler(number)

    return give_back
