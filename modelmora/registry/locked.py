"""What a node that serves exactly the lock file asks of it, again and again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from modelmora.engines.allowed import MOST_FILES
from modelmora.engines.folders import place_of
from modelmora.errors import ModelMoraError
from modelmora.registry.definitions import ModelDefinition
from modelmora.registry.lock import Lock, drift, read_lock
from modelmora.registry.sources import BUILT_IN, Sources
from modelmora.registry.sums import is_settled, sums_of
from modelmora.settings import ModelDetails, Settings

_State = tuple[tuple[str, int, int, int], ...]
"""Per file and folder its path, inode, time of the last change of the inode in ns, and size."""


ORDERED = frozenset({"card", "keep_alive", "metadata", "pinned", "preload", "replicas", "spread"})
"""What callers may order, or say, of a model that serves: not what it is."""


class Locked:
    """The lock file and the sums of files, as they are now; to be asked in a thread.

    A gigabyte is hashed in about a second, once: sums are kept in the data folder. A model is
    compared again only once the lock file, its definition or something in its folder has changed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sums = sums_of(settings)
        self._seen: tuple[int, int, int] | None = None
        self._lock: Lock | None = None
        self._fault: str | None = None
        self._compared: dict[tuple[str, str], tuple[ModelDefinition, _State, str | None]] = {}

    def refresh(self) -> None:
        """Read the lock file again where it has changed."""
        try:
            stat = self._settings.lock_file.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except OSError:
            seen = None
        if self._lock and self._fault is None and seen == self._seen:
            return
        self._compared = {}
        try:
            self._lock, self._fault, self._seen = read_lock(self._settings), None, seen
        except ModelMoraError as error:
            self._fault = str(error)

    def details(self, definition: ModelDefinition) -> ModelDetails:
        """With the revision and files that were locked, where a definition leaves them open."""
        own = self._lock.models.get(definition.key) if self._lock else None
        return own.details if own else definition.details

    def fault(self, definition: ModelDefinition) -> str | None:
        """Why a model must not be loaded; None where it is just what was locked."""
        if definition.source.startswith(BUILT_IN):
            return None
        if self._fault or self._lock is None:
            return self._fault
        state = self._state(definition)
        known = self._compared.get(definition.key)
        if known and known[:2] == (definition, state):
            return known[2]
        found = drift(self._settings, self._lock, definition, self._sums, but=ORDERED)
        if self._sums.changed:
            self._sums.save()
        self._compared.pop(definition.key, None)
        if state and is_settled(max(changed for _, _, changed, _ in state)):
            self._compared[definition.key] = definition, state, found
        return found

    def _state(self, definition: ModelDefinition) -> _State:
        """How all that is compared of a model lies on the disk; empty where that is not seen."""
        own = self._lock.models.get(definition.key) if self._lock else None
        if own is None:
            return ()
        try:
            sources, adapter = Sources(self._settings), own.details.adapter
            places = [(sources.folder(own.source, own.details.revision), own.details.files)]
            if adapter:
                places.append((sources.folder(adapter.source, adapter.revision), adapter.files))
            named = [place_of(folder, file.path) for folder, files in places for file in files]
            every = (each for folder, _ in places for each in folder.rglob("*"))
            below = [*islice(every, MOST_FILES + 1)]
            if len(below) > MOST_FILES:
                return ()
            return tuple(sorted(_states({*(folder for folder, _ in places), *named, *below})))
        except (ModelMoraError, OSError):
            return ()


def _states(paths: set[Path]) -> Iterator[tuple[str, int, int, int]]:
    for path in paths:
        stat = path.stat()
        yield str(path), stat.st_ino, stat.st_ctime_ns, stat.st_size
