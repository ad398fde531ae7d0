"""The sha256 of files, asked of the disk once as long as a file stays as it is."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelmora.registry.files import write_atomically
from modelmora.registry.sources.cache import sha256_of
from modelmora.settings import Settings

_SETTLED_NS = 2_000_000_000
"""A file that changed so recently may change again within one tick of its times."""


class Sums:
    """Remembers sums by path, inode, size, and times of change of content and of inode.

    The last of these cannot be set back by a program, so a byte that was flipped is seen even
    where somebody restored the file's time. `file` keeps them from one process to the next.
    Hashing is in C and lets go of Python's lock: call it in a thread.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._known: dict[str, list[Any]] = _read(file) if file else {}
        self.changed = False

    def of(self, path: Path) -> str:
        """The sha256 in hex. Raises OSError."""
        key = str(path.resolve())
        state = _state(path)
        known = self._known.get(key)
        if known and known[:-1] == state:
            return str(known[-1])
        found = sha256_of(path)
        if is_settled(max(state[2], state[3])) and _state(path) == state:
            with self._lock:
                self._known[key] = [*state, found]
                self.changed = True
        return found

    def save(self) -> None:
        """Keep them; that they cannot be kept costs only time."""
        with suppress(OSError), self._lock:
            self.changed = False
            if self._file:
                gone = [key for key in self._known if not Path(key).exists()]
                for key in gone:
                    del self._known[key]
                write_atomically(self._file, json.dumps(self._known, indent=0))


def is_settled(changed_ns: int) -> bool:
    """Whether what last changed at that time would be seen to change again."""
    return time.time_ns() - changed_ns > _SETTLED_NS


def sums_of(settings: Settings) -> Sums:
    """Those of an instance, kept in its data folder."""
    return Sums(settings.data_dir / "sums.json")


def _state(path: Path) -> list[Any]:
    stat = path.stat()
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _read(file: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(file.read_text())
        return {str(key): [*value] for key, value in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
