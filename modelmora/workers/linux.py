"""What Linux knows about parents, deaths and threads, through ctypes and /proc."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # constants of prctl(2)
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
NAME_BYTES = 15

supported = sys.platform == "linux" and hasattr(os, "pidfd_open")


def _prctl(option: int, argument: int | bytes | ctypes.c_void_p) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    value = ctypes.c_ulong(argument) if isinstance(argument, int) else argument
    if libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"prctl {option}")


def become_subreaper(on: bool = True) -> None:
    """Make orphans below this process its children (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    _prctl(PR_SET_CHILD_SUBREAPER, int(on))


def is_subreaper() -> bool:
    """Whether this process inherits the orphans below it."""
    flag = ctypes.c_int()
    _prctl(PR_GET_CHILD_SUBREAPER, ctypes.cast(ctypes.byref(flag), ctypes.c_void_p))
    return bool(flag.value)


def die_with_parent(parent: int) -> None:
    """Be killed as soon as `parent` ends; ends at once when it is gone already.

    The signal follows the *thread* that started this process, so that must be a thread that
    lives as long as its process: the main one.
    """
    _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def set_process_name(name: str) -> None:
    """The name `ps` and `top` show, cut to 15 bytes."""
    _prctl(PR_SET_NAME, name.encode()[:NAME_BYTES])


def thread_count() -> int:
    """Threads of this process."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def close_other_fds(keep: set[int]) -> None:
    """Close every file descriptor but those in `keep` and the standard three."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        fd = int(name)
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                continue  # the listing's own descriptor


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped a process (SIGSTOP): it does nothing until another wakes it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] == b"T"


def children_in_sessions(sessions: set[int]) -> list[tuple[int, int, bool]]:
    """(pid, session, zombie) of this process's children in these sessions."""
    me, found = os.getpid(), []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            stat = Path(entry.path, "stat").read_bytes()
        except OSError:
            continue
        # The command name in parentheses may hold anything; fields are counted after it.
        state, parent, _group, session = stat.rpartition(b")")[2].split()[:4]
        if int(parent) == me and int(session) in sessions:
            found.append((int(entry.name), int(session), state in b"ZX"))
    return found
