"""From a source to a model's files on this machine: chosen, fetched, checked, hashed."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelmora.engines.adapters import choose_adapter
from modelmora.engines.allowed import check_one, choose, readable
from modelmora.engines.base import LoadError
from modelmora.engines.folders import check_content, check_whole, entrance, model_files, place_of
from modelmora.errors import ConfigurationError, LockMismatch, ModelMoraError
from modelmora.registry.sources import File, Progress, Reference, Scheme, Source
from modelmora.registry.sources.base import quiet
from modelmora.registry.sums import Sums
from modelmora.settings import Licence, ModelFile
from modelmora.settings.models import Value

FETCHED = (Scheme.HUB, Scheme.S3, Scheme.WEB)
"""What is copied here, and so stays as it is; the others are served where they lie."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """How to fetch: of several forms those that match `only`, and who hears how far it is.

    `expected` are the files that a lock file names: neither others nor fewer may come. `adapter`
    says that it is one, and no whole model.
    """

    only: Sequence[str] = ()
    progress: Progress = quiet
    licence: Callable[[Licence | None], Licence | None] = lambda told: told
    """Given what the source tells, before anything large is fetched; may refuse by raising."""
    expected: Sequence[ModelFile] | None = None
    adapter: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """One revision of a model on this machine."""

    folder: Path
    revision: str | None
    files: tuple[ModelFile, ...]
    licence: Licence | None
    tag: str | None
    card: Mapping[str, Value]


def fetch(reference: Reference, source: Source, sums: Sums, how: Fetching) -> Fetched:
    """Bring a model here, or see that it is.

    Small configurations come first, so that a repository with code of its own is refused before
    its weights were fetched. Raises NotFound, ConfigurationError (what lies there is refused, or
    no model), Unreachable, LockMismatch (not what was expected), ModelMoraError (disk full).
    """
    told = str(reference)
    with plainly(told):
        found = source.resolve()
        chosen = _chosen(reference, found.files, how)
        licence = how.licence(found.licence)
        chosen.sort(key=lambda file: (not file.path.endswith(".json"), file.size, file.path))
        source.fetch(found.revision, chosen, how.progress, check_content)
        folder = source.folder(found.revision)
        lying = sorted(file.path for file in chosen)
        folder = entrance(folder, lying)
        model_files(folder)
        check_whole(folder, lying)
        files = hashed(folder, lying, sums)
    if how.expected is not None:
        _compare(told, files, how.expected)
    return Fetched(folder, found.revision, files, licence, found.tag, found.card)


def _chosen(reference: Reference, files: Sequence[File], how: Fetching) -> list[File]:
    """What is to be fetched. Raises LoadError and LockMismatch."""
    names = {file.path: file for file in files}
    if how.expected is not None:
        wanted = {file.path for file in how.expected}
        paths = readable((p, file.size) for p, file in names.items() if p in wanted)
        _compare(str(reference), [names[path] for path in paths], how.expected)
    else:
        listed = [(path, file.size) for path, file in names.items()]
        paths = choose_adapter(listed) if how.adapter else choose(listed, how.only)
        if reference.scheme in FETCHED:
            check_one(paths)
    return [names[path] for path in paths]


def hashed(folder: Path, names: Sequence[str], sums: Sums) -> tuple[ModelFile, ...]:
    """Files with sizes and sums. Raises OSError."""
    found = []
    for name in names:
        path = place_of(folder, name)
        found.append(ModelFile(path=name, size=path.stat().st_size, sha256=sums.of(path)))
    return tuple(found)


def _compare(told: str, found: Sequence[File | ModelFile], expected: Sequence[ModelFile]) -> None:
    """Raises LockMismatch at the first difference; a sum that is not known is none."""
    there = {file.path: file for file in found}
    for file in expected:
        own = there.pop(file.path, None)
        if own is None:
            raise LockMismatch(f"{told} has no {file.path}, which the lock file names")
        if (own.size, own.sha256 or file.sha256) != (file.size, file.sha256):
            raise LockMismatch(f"{file.path} of {told} is not the one that the lock file names")
    if there:
        raise LockMismatch(f"{told} has {min(there)}, which the lock file does not name")


@contextmanager
def plainly(source: str) -> Iterator[None]:
    """Errors of reading and writing in one line that names the source."""
    try:
        yield
    except LoadError as error:
        raise ConfigurationError(f"{source} cannot be served: {error.message}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelMoraError(f"the disk is full; free some space for {source}") from None
        raise ConfigurationError(f"{source} cannot be read: {error.strerror or error}") from None
