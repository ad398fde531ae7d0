"""What all sources have in common whose models lie in our own cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from modelmora.registry.sources.base import Check, File, Progress
from modelmora.registry.sources.cache import Cache


class Kept(ABC):
    """A source that is read file by file, from any offset."""

    __slots__ = ()

    @property
    @abstractmethod
    def cache(self) -> Cache:
        """Where its models lie."""

    @property
    @abstractmethod
    def _source(self) -> str:
        """What a definition calls it."""

    @abstractmethod
    def _read(self, file: File, offset: int) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of a file from an offset on."""

    def fetch(
        self, revision: str | None, files: Sequence[File], progress: Progress, check: Check
    ) -> None:
        """Fetch into the cache; what a killed fetch left is gone on from."""
        self.cache.fetch(self._source, revision or "", files, self._read, progress, check)

    def exact(self, revision: str | None) -> str | None:
        """The revision that lies here."""
        return revision

    def discard(self, revision: str | None) -> int:
        """Delete it from the cache."""
        return self.cache.discard(self._source, revision or "-")
