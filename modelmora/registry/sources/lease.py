"""A claim that one of several processes holds, on this machine or on others of one volume."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil

LEASE_S = 60.0
_RENEWALS = 5
_PAUSE_S = 0.2


@contextmanager
def claimed(
    path: Path, on_wait: Callable[[], None] = lambda: None, lease_s: float = LEASE_S
) -> Iterator[None]:
    """Hold a claim, once nobody else does; raises OSError.

    It rests on two things that local disks and NFS 3 and later give: `O_CREAT | O_EXCL` succeeds
    for one, and an opened file shows its newest times. The owner touches the file; one who sees it
    untouched for `lease_s` of its own clock takes it over, at once where the owner was a process of
    this machine that is gone. An owner that was only frozen goes on beside its heir, so what is
    done under a claim must come out right if done twice: it saves work, nothing rests on it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = f"{_machine()} {os.getpid()} {_born(os.getpid())} {uuid4().hex}"
    seen: tuple[str, int] | None = None
    since = 0.0
    while not _create(path, mine):
        now = _look(path)
        if now != seen:
            if seen is None:
                on_wait()
            seen, since = now, time.monotonic()
        if now and (_is_gone(now[0]) or time.monotonic() - since > lease_s):
            _take_away(path, now[0])
            continue
        time.sleep(_PAUSE_S)
    ended = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(path, mine, ended, lease_s / _RENEWALS), daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        if (last := _look(path)) and last[0] == mine:
            path.unlink(missing_ok=True)


def _create(path: Path, mine: str) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(mine)
    return True


def _look(path: Path) -> tuple[str, int] | None:
    """Whose it is and when it was touched; None where it is nobody's."""
    try:
        with path.open() as file:
            return file.read(400), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _keep(path: Path, mine: str, ended: threading.Event, every_s: float) -> None:
    while not ended.wait(every_s):
        with suppress(OSError):
            found = _look(path)
            if found and found[0] == mine:
                os.utime(path)


def _take_away(path: Path, owner: str) -> None:
    """Of those who saw the same dead owner one gets its file away."""
    aside = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    found = _look(aside)
    if found and found[0] != owner:  # another one was faster, and this is its claim
        with suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _machine() -> str:
    """This boot of this machine, as far as its process numbers mean the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116
    except OSError:
        return f"{os.uname().nodename}/{psutil.boot_time():.0f}"


def _born(pid: int) -> str:
    return f"{psutil.Process(pid).create_time():.2f}"


def _is_gone(owner: str) -> bool:
    """Whether the owner was a process of this machine and is no more."""
    machine, pid, born, _ = (*owner.split(), "", "", "", "")[:4]
    if machine != _machine() or not pid.isdecimal():
        return False
    try:
        process = psutil.Process(int(pid))
        return _born(process.pid) != born or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
