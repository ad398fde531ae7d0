"""What a source of models is: it lists one exact revision, fetches it, says where it lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelmora.errors import ModelMoraError
from modelmora.settings import Licence
from modelmora.settings.models import Value


@dataclass(frozen=True, slots=True)
class File:
    """A file of a model: its path in the model's folder, bytes, and what they must hash to.

    `sha256` is in hex; `git` is the SHA-1 of git's blob, which the hub has of small files; `etag`
    is what a server calls its content, so that no other one is fetched.
    """

    path: str
    size: int
    sha256: str | None = None
    git: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One exact revision of a source and all files in it; None where a source has no revisions."""

    revision: str | None
    files: tuple[File, ...]
    licence: Licence | None = None
    tag: str | None = None
    """What the hub calls its task."""
    card: Mapping[str, Value] = field(default_factory=dict)
    """What its card tells beside that."""


class Progress(Protocol):
    """Who is told how far a fetch has come."""

    def __call__(self, path: str, done: int, total: int) -> None:
        """`done` of `total` bytes of a file are here."""
        ...


Check = Callable[[str, Path], None]
"""Looks at a file that has just come; raises where the others need not come."""


class Corrupt(ModelMoraError):
    """What came is not what the source says it has."""


class Source(Protocol):
    """One model in one place; each method may take long and is called in no event loop."""

    def resolve(self) -> Found:
        """The revision that is meant now. Raises NotFound, ConfigurationError or Unreachable."""
        ...

    def fetch(
        self, revision: str | None, files: Sequence[File], progress: Progress, check: Check
    ) -> None:
        """Bring what is missing of these files here, in their order, whole or not at all.

        Raises what `resolve` and `check` do, Corrupt, and OSError (disk full).
        """
        ...

    def folder(self, revision: str | None) -> Path:
        """Where a revision lies, or a file where that is the model; asks no network.

        Raises NotFound where it is not here, ConfigurationError where there is no model in it.
        """
        ...

    def exact(self, revision: str | None) -> str | None:
        """The revision that lies here where this one is asked for; None where there are none."""
        ...

    def discard(self, revision: str | None) -> int:
        """Delete what was fetched of a revision; bytes that are free now."""
        ...


def quiet(path: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""
