"""A model's folder as it lies on the disk: listed without leaving it, checked before it is read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from modelmora.engines.allowed import MOST_FILES, check_json, is_harmless, is_weights, readable
from modelmora.engines.files import broken, read_header, read_json
from modelmora.text import counted, printable

_MAGIC = b"GGUF"
_LARGEST = 4_000_000
_TABLES = re.compile(r"tokenizer\.json|vocab\.json|merges\.json|.*\.index\.json")
"""Of all JSON these may be larger, and are slow to read; they name no code."""


def model_files(path: Path) -> tuple[str, ...]:
    """The files that make the model in a folder, relative to it and sorted; or that one file.

    This is what stands between a stranger's files and an engine: at install, when a lock file is
    compared, and in the child before it loads. `readable` decides; here links and special files are
    refused that lead out of the folder, and configurations that name code. Raises LoadError.
    """
    if path.is_file():
        chosen = readable([(path.name, path.stat().st_size)])
        check_content(path.name, path)
        return chosen
    listed = [*_listed(path)]
    for name, _ in listed:
        check_content(name, path / name)
    return readable(listed)


def check_unchanged(files: Iterable[Sequence[Any]]) -> None:
    """Raises LoadError unless these files are as they were when the node hashed them.

    Of each the path, inode, time of the last change of the inode in ns, and size.
    """
    for name, *seen in files:
        try:
            stat = Path(name).stat()
            now = [stat.st_ino, stat.st_ctime_ns, stat.st_size]
        except OSError:
            now = []
        if now != seen:
            raise broken(f"{Path(name).name} is not the file that was locked")


def check_whole(path: Path, names: Collection[str]) -> None:
    """Raises LoadError where one of these files is cut off."""
    for file in (place_of(path, name) for name in names):
        if file.suffix == ".safetensors":
            read_header(file)
        elif file.suffix == ".json":
            read_json(file, object)


def place_of(path: Path, name: str) -> Path:
    """Where a file of a model lies; `path` is its folder, or one of its files."""
    return path.with_name(PurePosixPath(name).name) if path.is_file() else path / name


def entrance(folder: Path, names: Collection[str]) -> Path:
    """What an engine is given: the folder, unless it holds further quantisations than these.

    Then it is the first GGUF file. The hub's cache has all in one folder that were ever fetched.
    """
    first = min((n for n in names if n.endswith(".gguf") and "mmproj" not in n), default=None)
    if first is None or {path.name for path in folder.glob("*.gguf")} <= {*names}:
        return folder
    return folder / first


def _listed(folder: Path) -> Iterator[tuple[str, int]]:
    """Every file below the folder and its size."""
    roots = _roots(folder)
    count = 0

    def unread(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        told = "the model's folder" if name == "." else printable(name)
        raise broken(f"{told} cannot be read: {error.strerror}")

    for at, folders, names in os.walk(folder, onerror=unread):
        for name in (*folders, *names):
            path = Path(at, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                _check_link(path, relative, roots)
            if name in folders:
                if is_weights(relative):
                    raise broken(f"{printable(relative)} is no file")
                continue
            count += 1
            if count > MOST_FILES:
                raise broken(f"it has over {counted(MOST_FILES, 'file')}; is it a model's folder?")
            try:
                status = path.stat()
            except OSError as error:
                if is_harmless(relative):
                    continue
                what = "is a link to nothing" if path.is_symlink() else f"{error.strerror}"
                raise broken(f"{printable(relative)} {what}") from None
            if not stat.S_ISREG(status.st_mode):
                raise broken(f"{printable(relative)} is no file")
            yield relative, status.st_size


def _roots(folder: Path) -> tuple[Path, ...]:
    """Where links may lead: into the folder, and from a snapshot of a hub cache into its blobs."""
    whole = folder.resolve()
    if whole.parent.name == "snapshots" and whole.parent.parent.name.startswith("models--"):
        return whole, whole.parent.parent / "blobs"
    return (whole,)


def _check_link(path: Path, relative: str, roots: tuple[Path, ...]) -> None:
    try:
        target = path.resolve()
    except (OSError, RuntimeError):
        raise broken(f"{printable(relative)} is a link to nothing") from None
    if not any(target.is_relative_to(root) for root in roots):
        raise broken(f"{printable(relative)} is a link out of the model's folder")


def check_content(name: str, path: Path) -> None:
    """Refuse a configuration that names code, and what is no GGUF; raises LoadError."""
    if path.suffix == ".json" and not _TABLES.fullmatch(path.name):
        if path.stat().st_size > _LARGEST:
            raise broken(f"{path.name} is too large for a configuration")
        check_json(name, read_json(path, object))
    if path.suffix == ".gguf":
        try:
            with path.open("rb") as file:
                start = file.read(len(_MAGIC))
        except OSError as error:
            raise broken(f"{path.name} cannot be read: {error.strerror}") from None
        if start != _MAGIC:
            raise broken(f"{path.name} is no GGUF file")
