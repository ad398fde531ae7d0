"""What a node that serves exactly the lock file asks of it, again and again."""

from __future__ import annotations

from modelmora.errors import ModelMoraError
from modelmora.registry.definitions import ModelDefinition
from modelmora.registry.lock import Lock, drift, read_lock
from modelmora.registry.sources import BUILT_IN
from modelmora.registry.sums import sums_of
from modelmora.settings import ModelDetails, Settings


class Locked:
    """The lock file and the sums of files, as they are now; to be asked in a thread.

    A gigabyte is hashed in about a second, once: sums are kept in the data folder.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sums = sums_of(settings)
        self._seen: tuple[int, int, int] | None = None
        self._lock: Lock | None = None
        self._fault: str | None = None

    def refresh(self) -> None:
        """Read the lock file again where it has changed."""
        try:
            stat = self._settings.lock_file.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except OSError:
            seen = None
        if self._lock and self._fault is None and seen == self._seen:
            return
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
        found = drift(self._settings, self._lock, definition, self._sums)
        if self._sums.changed:
            self._sums.save()
        return found
