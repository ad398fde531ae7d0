"""Folders that live as long as the test session, for what many tests share."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp

_MADE: list[Path] = []


def session_folder(prefix: str) -> Path:
    """A new folder, gone when the session ends."""
    _MADE.append(Path(mkdtemp(prefix=prefix)))
    return _MADE[-1]


def remove_all() -> None:
    """Called once, at the end of the session."""
    for folder in _MADE:
        shutil.rmtree(folder, ignore_errors=True)
