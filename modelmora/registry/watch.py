"""Noticing that models were installed or removed, by looking at the folder's files."""

from __future__ import annotations

from modelmora.registry.declared import declared_files
from modelmora.registry.definitions import definition_files, models_folder
from modelmora.settings import Settings

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Per definition file its path, inode, modification time in ns, and size."""


def fingerprint(settings: Settings) -> Fingerprint:
    """What the models folder looks like now; equal as long as nothing was installed or removed.

    It lists the folders of definitions, all of them below `models_folder`, and asks for the state
    of each file, every second: they are to hold definitions, not models. Where they cannot be read
    they look empty; `served_or_faults` says why.
    """
    found = []
    try:
        declared = declared_files(settings.models_folder) if settings.models_folder else ()
        for path in (*definition_files(models_folder(settings)), *declared):
            stat = path.stat()
            # A definition is replaced, never edited in place, so its inode changes even where
            # two writes fall into one tick of the clock.
            found.append((str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size))
    except OSError:
        return tuple(sorted(found))
    return tuple(sorted(found))
