"""A folder used by one process at a time: flock(2) on a file in it that names the owner."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO


class FolderLock:
    """An exclusive lock that ends with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock and write our pid into its file; False when another process has it.

        Raises OSError where the file cannot be written.
        """
        file = self.path.open("a+")
        try:
            while not _take(file, fcntl.LOCK_EX):
                if not _take(file, fcntl.LOCK_SH):
                    file.close()
                    return False
                # Only someone who asks has it, for a moment.
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        except BaseException:
            file.close()
            raise
        self._file = file
        return True

    def held(self) -> bool:
        """Whether a process has it; asking needs no right to write. Raises OSError."""
        try:
            with self.path.open() as file:
                return not _take(file, fcntl.LOCK_SH)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def owner(self) -> int | None:
        """The pid in the file: the owner's, where the lock is held."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.path.read_text())
        return None

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would race with the next owner."""
        if self._file:
            self._file.close()
            self._file = None


def _take(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
