"""Models fetched from S3 and the web, one folder per source and revision, whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from modelmora.errors import NotFound
from modelmora.registry.files import write_atomically
from modelmora.registry.sources.base import Check, Corrupt, File, Progress
from modelmora.registry.sources.lease import claimed

_ABANDONED_S = 7 * 86_400
_NOTE = "source"
"""The file beside the revisions of a source that says which it is."""
_SLUG = "[!.]*-" + "[0-9a-f]" * 10
Read = Callable[[File, int], AbstractContextManager[Iterator[bytes]]]
"""The bytes of a file from an offset on."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder that several processes and machines may share."""

    root: Path

    def folder(self, source: str, revision: str) -> Path:
        """Where a revision lies if it was fetched; what lies there is whole."""
        return self.root / _slug(source) / revision

    def fetch(
        self,
        source: str,
        revision: str,
        files: Sequence[File],
        read: Read,
        progress: Progress,
        check: Check,
    ) -> None:
        """Fetch files that are not here: aside, then put in place by one rename.

        What a killed fetch left is gone on from. Two at once fetch once. Raises what `read`,
        `verify` and `check` do, and OSError.
        """
        place = self.folder(source, revision)
        key = f"{_slug(source)}-{revision}"
        self._note(source)
        if all((place / file.path).is_file() for file in files):
            return
        with claimed(self.root / ".claims" / key):
            lacking = [file for file in files if not (place / file.path).is_file()]
            if not lacking:
                return  # another has fetched them while we waited for the claim
            self.sweep()
            aside = self.root / ".partial" / key
            _keep_only(aside, {file.path for file in lacking})
            try:
                for file in lacking:
                    _fetch_one(aside / file.path, file, read, progress)
                    verify(aside / file.path, file)
                    check(file.path, aside / file.path)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    shutil.rmtree(aside, ignore_errors=True)
                if not all((place / file.path).is_file() for file in files):
                    raise
                return  # we were frozen, and another has taken the claim over and done it
            _put_in_place(aside, place, lacking)

    def discard(self, source: str, revision: str) -> int:
        """Delete a revision, and what a fetch of it left; bytes that are free now."""
        return self.delete(self.folder(source, revision))

    def delete(self, whole: Path) -> int:
        """`discard` of what lies in this folder."""
        key = f"{whole.parent.name}-{whole.name}"
        aside = self.root / ".partial" / key
        freed = 0
        with claimed(self.root / ".claims" / key):
            for place in (aside, whole):
                if place.is_dir():
                    freed += sum(each.stat().st_size for each in place.rglob("*") if each.is_file())
                    if place != aside:  # out of sight at once: no one may find half of it
                        aside.parent.mkdir(parents=True, exist_ok=True)
                        place.rename(aside)
                    shutil.rmtree(aside)
        return freed

    def lying(self, known: Iterable[str]) -> Iterator[tuple[str, str | None, Path, Path]]:
        """What lies here: source, revision, folder, and the claim of whoever works on it.

        What a fetch left has no revision yet. A source without a note is one of those that are
        `known`, or called as its folder is.
        """
        names = {_slug(source): source for source in known}
        for folder in sorted(self.root.glob(_SLUG)):
            source = names.get(folder.name, folder.name)
            with suppress(OSError):
                source = (folder / _NOTE).read_text("utf-8")
            for place in sorted(each for each in folder.iterdir() if each.is_dir()):
                claim = self.root / ".claims" / f"{folder.name}-{place.name}"
                yield source, place.name, place, claim
        for aside in sorted((self.root / ".partial").glob("*")):
            yield aside.name, None, aside, self.root / ".claims" / aside.name

    def _note(self, source: str) -> None:
        """Say which source it is where nobody has; one who may only read here goes without."""
        note = self.root / _slug(source) / _NOTE
        with suppress(OSError):
            if not note.exists():
                write_atomically(note, source)

    def drop(self, aside: Path) -> None:
        """Delete what a fetch left, unless somebody goes on with it."""
        if not (self.root / ".claims" / aside.name).exists():
            shutil.rmtree(aside, ignore_errors=True)

    def sweep(self, older_s: float = _ABANDONED_S) -> None:
        """Delete what fetches left that nobody has gone on with."""
        for aside in (self.root / ".partial").glob("*"):
            newest = max((each.stat().st_mtime for each in aside.rglob("*")), default=0.0)
            if time.time() - newest > older_s:
                self.drop(aside)


def _keep_only(aside: Path, wanted: Collection[str]) -> None:
    """Of what a fetch left, what this one wants too."""
    for path in [each for each in aside.rglob("*") if each.is_file()]:
        if path.relative_to(aside).as_posix() not in wanted:
            path.unlink()


def _put_in_place(aside: Path, place: Path, files: Sequence[File]) -> None:
    """By one rename; files that come later are put beside those that are there, each whole."""
    for folder in (aside, *(path for path in aside.rglob("*") if path.is_dir())):
        _sync(folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_dir():
        aside.rename(place)
    elif aside.is_dir():
        for file in files:
            (place / file.path).parent.mkdir(parents=True, exist_ok=True)
            (aside / file.path).rename(place / file.path)
            _sync((place / file.path).parent)
        shutil.rmtree(aside)
    _sync(place.parent)


def _fetch_one(target: Path, file: File, read: Read, progress: Progress) -> None:
    """Raises Corrupt where it is longer than its source says, and what `read` does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.stat().st_size < file.size:
        # A file of our own: one who had the claim and was frozen may still write to the old one.
        own = target.with_name(f"{target.name}.{uuid4().hex}")
        shutil.copyfile(target, own)
        own.replace(target)
    with target.open("ab") as out:
        done = out.tell()
        progress(file.path, done, file.size)
        if done < file.size:
            with read(file, done) as chunks:
                for chunk in chunks:
                    done += len(chunk)
                    if done > file.size:
                        raise Corrupt(f"{file.path} is longer than its source tells")
                    out.write(chunk)
                    progress(file.path, done, file.size)
        out.flush()
        os.fsync(out.fileno())


def verify(path: Path, file: File, told: str | None = None) -> None:
    """Raises Corrupt unless a fetched file is what its source says; then it is deleted.

    `told` is its sha256 where that is known already.
    """
    there = path.stat().st_size
    wrong = None
    if there != file.size:
        wrong = f"has {there} of {file.size} bytes"
    elif file.sha256 and (told or sha256_of(path)) != file.sha256:
        wrong = "does not have the sha256 that its source tells"
    elif file.git and _git_sum(path) != file.git:
        wrong = "does not have the sum that its source tells"
    if wrong:
        if there >= file.size:  # a shorter one is gone on from
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise Corrupt(f"{file.path} {wrong}; install it again")


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_sum(path: Path) -> str:
    """The SHA-1 of git's blob of a file: `blob <size>`, a null byte, the content."""
    total = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    total.update(path.read_bytes())
    return total.hexdigest()


def missing(source: str) -> NotFound:
    """What is said of a model that was not fetched yet."""
    return NotFound(f"{source} is not on this machine; run `modelmora install {source}`")


def _slug(source: str) -> str:
    plain = re.sub(r"[^a-z0-9.]+", "-", source.lower()).strip("-.")[:60]
    return f"{plain}-{hashlib.sha256(source.encode()).hexdigest()[:10]}"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
