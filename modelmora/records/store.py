"""What was read of the registry, kept in SQLite: a cache, rebuilt from the topic at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from modelmora.errors import Undecodable
from modelmora.records.state import Entry
from modelmora.wire import decode_registry, encode_registry

log = structlog.get_logger(__name__)
BUSY_S = 1.0
MIGRATIONS = (
    """CREATE TABLE entry (key BLOB PRIMARY KEY, at INTEGER NOT NULL, value BLOB NOT NULL,
    buried INTEGER NOT NULL) WITHOUT ROWID, STRICT""",
    "CREATE TABLE place (topic_id TEXT NOT NULL, next INTEGER NOT NULL) STRICT",
)
"""Each takes the file one `user_version` further."""
_ADD = (
    "INSERT INTO entry VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
    " SET at = excluded.at, value = excluded.value, buried = excluded.buried"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What was read of the topic with this id, of all its records below `next`."""

    topic_id: str = ""
    next: int = 0
    entries: Mapping[bytes, Entry] = field(default_factory=dict)


def peek(path: Path) -> Mapping[bytes, Entry]:
    """What a process has kept in its file, which may be running; nothing where it cannot be read.

    Blocking.
    """
    place = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(place, BUSY_S, uri=True)) as file:
            return _entries(file)
    except (sqlite3.Error, Undecodable):
        return {}


def _entries(file: sqlite3.Connection) -> dict[bytes, Entry]:
    """What counts under each key. Raises sqlite3.Error and Undecodable."""
    rows = file.execute("SELECT key, at, value, buried FROM entry")
    return {key: Entry(at, decode_registry(value), bool(buried)) for key, at, value, buried in rows}


class Store:
    """One file, of one process. That it cannot be used is told once and stops nothing.

    A file that is damaged, or of a later release, is put aside and begun anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: sqlite3.Connection | None = None
        self.fault: str | None = None
        """Why nothing is kept, None while it is."""

    def open(self) -> Kept:
        """What was kept, nothing where that cannot be read. Blocking, as all else here."""
        try:
            return self._open()
        except (sqlite3.DatabaseError, Undecodable) as error:
            if not isinstance(error, Undecodable) and _is_of_the_disk(error):
                self._fail(error)
                return Kept()
            log.warning("kept registry cannot be read, made anew", why=str(error))
            self.close()
        try:
            for each in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + each).unlink(missing_ok=True)
            return self._open()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            return Kept()

    def _open(self) -> Kept:
        with suppress(OSError):  # SQLite says what is wrong
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = file = sqlite3.connect(
            self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is read again
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise sqlite3.DatabaseError("it is of a later release")
        for number, migration in enumerate(MIGRATIONS[version:], version + 1):
            file.execute("BEGIN IMMEDIATE")
            file.execute(migration)
            file.execute(f"PRAGMA user_version = {number}")
            file.execute("COMMIT")
        (sound,) = file.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise sqlite3.DatabaseError(sound)
        entries = _entries(file)
        place = file.execute("SELECT topic_id, next FROM place").fetchone()
        return Kept(place[0], place[1], entries) if place else Kept()

    def keep(
        self, topic_id: str, next_: int, changed: Iterable[tuple[bytes, Entry | None]]
    ) -> None:
        """Keep what counts under these keys now, None for nothing, and how far was read.

        What was kept of another topic is gone.
        """
        file = self._file
        if file is None or self.fault:
            return
        changed = [*changed]
        gone = [(key,) for key, entry in changed if entry is None]
        there = [
            (key, entry.offset, encode_registry(entry.record), entry.buried)
            for key, entry in changed
            if entry is not None
        ]
        try:
            file.execute("BEGIN IMMEDIATE")
            if file.execute("DELETE FROM place WHERE topic_id = ?", (topic_id,)).rowcount == 0:
                file.execute("DELETE FROM place")
                file.execute("DELETE FROM entry")
            file.execute("INSERT INTO place VALUES (?, ?)", (topic_id, next_))
            file.executemany("DELETE FROM entry WHERE key = ?", gone)
            file.executemany(_ADD, there)
            file.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)

    def close(self) -> None:
        """Keep no more."""
        file, self._file = self._file, None
        if file:
            with suppress(sqlite3.Error), closing(file):
                pass

    def _fail(self, error: Exception) -> None:
        """From here on nothing is kept: what lies there may be old, and is read again anyway."""
        self.fault = f"{self._path} cannot be used: {error}"
        log.warning("the registry is not kept, it is read anew at each start", why=self.fault)
        self.close()


def _is_of_the_disk(error: sqlite3.Error) -> bool:
    """Whether the place is to blame, not what lies there."""
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(
        ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY")
    )
