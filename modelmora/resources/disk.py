"""What is left of the disk that a folder lies on."""

from __future__ import annotations

import os
from pathlib import Path

from modelmora.text import size as as_size

LEAST_BYTES = 64 << 20
"""With less than that left, what is written next may not be kept."""


def disk_fault(folder: Path) -> str | None:
    """Why nothing more can be kept in a folder, None where something can. Blocking."""
    try:
        found = os.statvfs(folder)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        return f"{folder} cannot be used: {error.strerror}"
    if not writable or found.f_flag & os.ST_RDONLY:
        return f"{folder} cannot be written to"
    left = found.f_bavail * found.f_frsize
    if left < LEAST_BYTES:
        return f"{as_size(left)} are left on the disk of {folder}; free some"
    if found.f_files and not found.f_favail:
        return f"the disk of {folder} takes no more files; remove some"
    return None
