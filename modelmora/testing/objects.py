"""An object store in memory, which can be made not to answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modelmora.errors import NotFound, Unreachable
from modelmora.objects.keys import Key
from modelmora.objects.store import CHUNK, Verb


class MemoryStore:
    """Implements `objects.store.Store`; while `fault` is set every call raises it."""

    home = "s3://tests/objects/"

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, str]] = {}
        """What was put, by its uri, with its media type."""
        self.fault: Exception | None = None
        self.asked = 0

    def down(self) -> None:
        """It does not answer from now on."""
        self.fault = Unreachable("the object store does not answer")

    def put(self, name: str, content: bytes | Path, media_type: str) -> None:
        """Keep this; a file is taken over."""
        self._ask()
        if isinstance(content, Path):
            file, content = content, content.read_bytes()
            file.unlink()
        self.kept[self.home + name] = content, media_type

    def get(self, uri: str) -> Iterator[bytes]:
        """The object in pieces. Raises NotFound."""
        self._ask()
        data = self._found(uri)
        return (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))

    def size(self, uri: str) -> int:
        """How many bytes it has. Raises NotFound."""
        self._ask()
        return len(self._found(uri))

    def delete(self, name: str) -> None:
        """Let go of it."""
        self._ask()
        self.kept.pop(self.home + name, None)

    def sweep(self, before: int) -> int:
        """Let go of all whose hour lies before this one."""
        self._ask()
        keys = {uri: Key.read(uri.removeprefix(self.home)) for uri in self.kept}
        gone = [uri for uri, key in keys.items() if key and key.hour < before]
        for uri in gone:
            del self.kept[uri]
        return len(gone)

    def sign(self, verb: Verb, name: str, media_type: str, size: int, until_ms: int) -> str:
        """A URL that leads nowhere."""
        return f"https://store.test/{name}?verb={verb}&until={until_ms}"

    def _ask(self) -> None:
        self.asked += 1
        if self.fault:
            raise self.fault

    def _found(self, uri: str) -> bytes:
        if uri not in self.kept:
            raise NotFound("there is no such object; it may have expired")
        return self.kept[uri][0]
