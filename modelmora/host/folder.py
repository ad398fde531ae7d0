"""The data folder of one machine: one owner at a time, its leftovers reaped, its member id kept."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import select
import signal
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from modelmora.broker.lock import FolderLock
from modelmora.errors import ConfigurationError, ModelMoraError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_TIME_FIELD = 22
"""Of /proc/<pid>/stat, counted from 1: clock ticks after boot (proc_pid_stat(5))."""
REAP_S = 10.0
LOCK = ".lock"
OWNER = "serve"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """A process we started, told apart from any later one of the same pid."""

    name: str
    pid: int
    boot: str
    ticks: int


class DataFolder:
    """`<data_dir>`, created and locked while open; records every process started under it."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self._lock = FolderLock(self.path / LOCK)
        self._file = self.path / "host.json"
        self._started: dict[str, Started] = {}
        self.inode = 0

    def gone(self) -> bool:
        """Whether the folder was removed, or another stands in its place."""
        try:
            return self.path.stat().st_ino != self.inode
        except OSError:
            return True

    def open(self) -> None:
        """Create, lock, and kill what a former owner left running.

        Where that owner still runs, with the lock ours, this folder is a copy of another's.
        Raises ConfigurationError (exit code 2: cannot be written, or in use, by whom) and
        ModelMoraError (exit code 1: disk full).
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            locked = self._lock.acquire()
            self.inode = self.path.stat().st_ino
        if not locked:
            raise ConfigurationError(
                f"{self.path} is in use by process {self._lock.owner()}; stop it, "
                "or give this one another --data-dir"
            )
        try:
            for process in _leftovers(_read(self._file)):
                kill_leftover(process)
            self.record(OWNER, os.getpid())
            self._save()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Give the folder back; nothing that we started runs any more."""
        self._file.unlink(missing_ok=True)
        self._lock.release()

    def record(self, name: str, pid: int) -> None:
        """Remember a started process, in place of the former of that name."""
        ticks = start_ticks(pid)
        if ticks is None:
            self._started.pop(name, None)
        else:
            self._started[name] = Started(name, pid, boot_id(), ticks)
        try:
            self._save()
        except ModelMoraError as error:
            # The parts die with us anyway, this file is the second net: no reason to stop them.
            log.warning("%s", error)

    def member_id(self) -> str:
        """This folder's name in the consumer group, made once and kept in it.

        A copy of the folder gets another one: two members of one name would fence each other.
        The file knows its own inode, which a copy has not and a move or a rename keeps.
        """
        path = self.path / "member_id"
        with contextlib.suppress(OSError, ValueError):
            kept, _, inode = path.read_text().strip().partition(" ")
            # An older version wrote no inode.
            if kept and int(inode or path.stat().st_ino) == path.stat().st_ino:
                return kept
        made = f"node-{uuid.uuid4()}"
        with writing(self.path):
            aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            aside.touch()
            aside.write_text(f"{made} {aside.stat().st_ino}\n")
            aside.replace(path)
        return made

    def _save(self) -> None:
        with writing(self.path):
            rows = [asdict(process) for process in self._started.values()]
            write_atomically(self._file, json.dumps(rows))


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that a reader, or a crash, sees the old or the new one whole."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    aside.write_text(text)
    aside.replace(path)


def boot_id() -> str:
    """What names this boot of the machine; empty where the system does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks after boot; None when it does not run (any more)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold spaces and brackets.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[START_TIME_FIELD - 4])


def _leftovers(recorded: Sequence[Started]) -> list[Started]:
    """What a former owner started; nothing where it is someone else who still runs."""
    owner = next((process for process in recorded if process.name == OWNER), None)
    if owner and owner.pid != os.getpid() and _runs(owner):
        return []
    return [process for process in recorded if process is not owner]


def _runs(process: Started) -> bool:
    return process.boot == boot_id() and start_ticks(process.pid) == process.ticks


def kill_leftover(process: Started) -> bool:
    """Kill the process and wait for its end, if it is still the one recorded; whether it was."""
    if process.boot != boot_id():
        return False
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The handle was opened first: from here on the pid cannot become someone else's.
        if start_ticks(process.pid) != process.ticks:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        ended, _, _ = select.select([handle], [], [], REAP_S)
        if not ended:
            raise ModelMoraError(
                f"{process.name} of a former run (process {process.pid}) does not die; "
                "end it by hand"
            )
        return True
    finally:
        os.close(handle)


def _read(path: Path) -> list[Started]:
    try:
        return [Started(**row) for row in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return []


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell of what hinders it in words; raises what `DataFolder.open` does."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelMoraError(
                f"the disk of {folder} is full; free some space and start again"
            ) from None
        raise ConfigurationError(
            f"the data folder {folder} cannot be written: {error.strerror or error}; "
            "choose another with --data-dir"
        ) from None
