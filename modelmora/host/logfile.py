"""The log of an instance in its data folder: where it is, when it is begun anew, how it is read."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

KEPT = 3
"""Former files beside the current one: modelmora.log.1 is the newest of them."""
LOOK_S = 0.2


def log_folder(data_dir: Path) -> Path:
    """Where the logs of an instance lie."""
    return data_dir / "logs"


def log_file(data_dir: Path) -> Path:
    """The current log, JSON lines of all processes."""
    return log_folder(data_dir) / "modelmora.log"


def rotate(path: Path, most_bytes: int) -> bool:
    """Begin a new file where this one has grown to `most_bytes`; whether it had.

    Processes that write go on in the new one, since they look at each line whether theirs is
    still of that name. What cannot be renamed stays.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size < most_bytes:
            return False
        for number in range(KEPT, 0, -1):
            older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number}"))
        path.touch()  # else there is no log until somebody has something to say
        return True
    return False


def last_lines(path: Path, count: int) -> list[str]:
    """The newest lines, the former file's before the current one's. Raises OSError."""
    lines: deque[str] = deque(maxlen=count)
    for each in (path.with_name(f"{path.name}.1"), path):
        with contextlib.suppress(FileNotFoundError), _open(each) as file:
            lines.extend(line.rstrip("\n") for line in file)
    return list(lines)


def follow(path: Path) -> Iterator[str]:
    """Lines as they are written from this call on, without end, also through a rotation."""
    file = _open(path) if path.exists() else None
    if file:
        file.seek(0, os.SEEK_END)
    return _lines(file, path)


def _lines(file: TextIO | None, path: Path) -> Iterator[str]:
    begun = ""
    try:
        while True:
            if file is None and path.exists():
                file = _open(path)
            line = file.readline() if file else ""
            begun += line
            if begun.endswith("\n"):
                yield begun.rstrip("\n")
                begun = ""
            elif not line:
                if file and _replaced(file, path):
                    file.close()
                    file, begun = None, ""
                time.sleep(LOOK_S)
    finally:
        if file:
            file.close()


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8", errors="replace")


def _replaced(file: TextIO, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return True
