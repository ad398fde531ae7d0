"""Models fetched from S3 and the web, one folder per source and revision, whole or not there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from modelmora.errors import NotFound
from modelmora.registry.sources.base import Check, Corrupt, File, Progress
from modelmora.registry.sources.lease import claimed

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

        What a killed fetch left is gone on from. Two at once fetch once. Raises Corrupt, OSError.
        """
        place = self.folder(source, revision)
        if place.is_dir():
            return
        key = f"{_slug(source)}-{revision}"
        with claimed(self.root / ".claims" / key):
            if place.is_dir():
                return
            aside = self.root / ".partial" / key
            aside.mkdir(parents=True, exist_ok=True)
            for file in files:
                target = aside / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                _fetch_one(target, file, read, progress)
                verify(target, file)
                check(file.path, target)
            for folder in (aside, *(path for path in aside.rglob("*") if path.is_dir())):
                _sync(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(place)
            _sync(place.parent)

    def discard(self, source: str, revision: str) -> int:
        """Delete a revision, and what a fetch of it left; bytes that are free now."""
        key = f"{_slug(source)}-{revision}"
        freed = 0
        for place in (self.folder(source, revision), self.root / ".partial" / key):
            if place.is_dir():
                freed += sum(each.stat().st_size for each in place.rglob("*") if each.is_file())
                # First out of sight: no one may find half of it.
                gone = self.root / ".partial" / f"{key}.gone"
                gone.parent.mkdir(parents=True, exist_ok=True)
                place.rename(gone)
                shutil.rmtree(gone)
        return freed


def _fetch_one(target: Path, file: File, read: Read, progress: Progress) -> None:
    with target.open("ab") as out:
        done = out.tell()
        if done > file.size:
            out.truncate(0)
            done = 0
        progress(file.path, done, file.size)
        if done < file.size:
            with read(file, done) as chunks:
                for chunk in chunks:
                    out.write(chunk)
                    done += len(chunk)
                    if done > file.size:
                        break
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
