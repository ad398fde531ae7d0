"""By what it is seen that a file has been changed."""

from __future__ import annotations

import os
from pathlib import Path

Mark = tuple[int, int, int]


def mark_of(path: Path) -> Mark | None:
    """What is another one once the file has been changed; None where there is none."""
    try:
        stat = os.stat(path)  # noqa: PTH116  (on each call; that of pathlib takes twice as long)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
