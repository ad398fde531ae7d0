"""Objects in a folder that nodes and gateways share, and URLs of the gateway to them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from modelmora.errors import NotFound, Unreachable
from modelmora.objects.keys import Key
from modelmora.objects.signing import Grant
from modelmora.objects.store import CHUNK, Full, Verb

HOME = "modelmora://objects/"
_KEY_FILE = "key"
_INCOMING = "incoming"
_STALE_S = 3600
_COUNT_S = 30.0


class FolderStore:
    """Files `<hour>/<owner>/<sha256>` under `root`, for its owner alone; at most `quota` bytes.

    The quota is counted anew now and then, since several processes write.
    """

    home = HOME

    def __init__(self, root: Path, quota: int) -> None:
        self._root = root
        self._quota = quota
        self._used = 0
        self._counted_at = float("-inf")

    def put(self, name: str, content: bytes | Path, media_type: str) -> None:
        """Keep this, whole or not at all; a file is taken over. Raises Full, Unreachable."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self.reserve(size)
        with _told_plainly(self._root):
            place = self._place(name)
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (place.parent.parent, place.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            if isinstance(content, bytes):
                with self.incoming() as (file, path):
                    file.write(content)
                    file.flush()
                    path.replace(place)
            else:
                shutil.move(content, place)
                place.chmod(0o600)
        self._used += size

    @contextlib.contextmanager
    def incoming(self) -> Iterator[tuple[BinaryIO, Path]]:
        """A new file beside the objects, gone at the end unless it was moved among them."""
        folder = self._root / _INCOMING
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / secrets.token_hex(16)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                yield file, path
        finally:
            path.unlink(missing_ok=True)

    def reserve(self, size: int) -> None:
        """Raises Full where no object of this size has room."""
        now = time.monotonic()
        if now - self._counted_at > _COUNT_S:
            self._used = sum(_sizes(self._root))
            self._counted_at = now
        if self._used + size > self._quota:
            raise Full(f"{self._root} is full; see objects.quota_bytes")

    def get(self, uri: str) -> Iterator[bytes]:
        """The object in pieces. Raises NotFound, Unreachable."""
        path = self.path(uri.removeprefix(HOME))
        with _told_plainly(self._root):
            file = path.open("rb")
        return self._pieces(file)

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        with file, _told_plainly(self._root):
            while piece := file.read(CHUNK):
                yield piece

    def size(self, uri: str) -> int:
        """How many bytes it has. Raises NotFound, Unreachable."""
        with _told_plainly(self._root):
            return self.path(uri.removeprefix(HOME)).stat().st_size

    def path(self, name: str) -> Path:
        """Where it lies. Raises NotFound for a name that no object has."""
        path = self._place(name)
        if not path.is_file():
            raise NotFound("there is no such object; it may have expired")
        return path

    def delete(self, name: str) -> None:
        """Let go of it; nothing if it is gone already."""
        with _told_plainly(self._root):
            self._place(name).unlink(missing_ok=True)

    def sweep(self, before: int) -> int:
        """Let go of all whose hour lies before this one, and of what was never finished."""
        swept = 0
        for hour in _entries(self._root):
            if hour.name.isdecimal() and int(hour.name) < before:
                swept += sum(1 for owner in _entries(hour) for _ in _entries(owner))
                shutil.rmtree(hour, ignore_errors=True)
        stale = time.time() - _STALE_S
        for path in _entries(self._root / _INCOMING):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < stale:
                    path.unlink()
        return swept

    def sign(self, verb: Verb, name: str, media_type: str, size: int, until_ms: int) -> str:
        """The path of the gateway's by which it may be done."""
        return Grant(verb, name, media_type, size, until_ms).signed(self.secret)

    @cached_property
    def secret(self) -> bytes:
        """What URLs are signed with: made once for all who share the folder."""
        path = self._root / _KEY_FILE
        with _told_plainly(self._root):
            if not path.exists():
                with self.incoming() as (file, made):
                    file.write(secrets.token_bytes(32))
                    with contextlib.suppress(FileExistsError):
                        os.link(made, path)  # the first stays, and is never seen half written
            return path.read_bytes()

    def _place(self, name: str) -> Path:
        if Key.read(name) is None:
            raise NotFound("there is no such object")
        return self._root / name


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sizes(root: Path) -> Iterator[int]:
    for folder, _, files in os.walk(root):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                yield os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118


@contextlib.contextmanager
def _told_plainly(root: Path) -> Iterator[None]:
    """The system's errors in our words."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound("there is no such object; it may have expired") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Full(f"the disk of {root} is full; free it, or see objects.folder") from None
        raise Unreachable(f"{root} cannot be used: {error.strerror}") from None
