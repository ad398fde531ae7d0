"""What an object store does for us, whichever it is, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from modelmora.errors import ModelMoraError, Unreachable

Verb = Literal["GET", "PUT"]
CHUNK = 1 << 20
"""Bytes that are read at once."""


class Full(Unreachable):
    """The object store takes no more; see `objects.quota_bytes`, or free its disk."""


class Bad(ModelMoraError):
    """An object is not what was said of it."""


class Store(Protocol):
    """Objects by name. Every call may block, and is for a thread; each may come from several.

    A name is `<hour>/<owner>/<sha256>` (see `keys.Key`). Raises Unreachable where the store does
    not answer, which may be worth another try, and ConfigurationError where it never will.
    """

    home: str
    """What its uris begin with; the name follows."""

    def put(self, name: str, content: bytes | Path, media_type: str) -> None:
        """Keep this, whole or not at all; a file is taken over. Raises Full."""

    def get(self, uri: str) -> Iterator[bytes]:
        """The object in pieces, of which the first is there at once. Raises NotFound."""

    def size(self, uri: str) -> int:
        """How many bytes it has. Raises NotFound."""

    def delete(self, name: str) -> None:
        """Let go of it; nothing if it is gone already."""

    def sweep(self, before: int) -> int:
        """Let go of all whose hour lies before this one; how many those were.

        Several may do so at once.
        """

    def sign(self, verb: Verb, name: str, media_type: str, size: int, until_ms: int) -> str:
        """A URL by which whoever has it may do this until then (Unix ms); asks nobody.

        Of a folder it is a path of the gateway's, beginning with `/`.
        """
