"""The registry as one process reads it: begun where it was left, and kept as it goes on."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

from modelmora.messages import RegistryKind
from modelmora.records.state import Registry
from modelmora.records.store import Store, peek
from modelmora.settings import Settings
from modelmora.wire.schemas import header_of, read_schema

_LEASE = f"{RegistryKind.NODE}:".encode()
AGAIN_MS = 600_000
"""So much of the log, in its own time, is read again at a start, for the leases in it."""
FORM = header_of(read_schema("registry_record")).hex()
"""What a release with another one has passed over, for it could not read it, this one may read."""


def file_of(settings: Settings, part: str) -> Path:
    """Where a process (node or gateway) keeps what it has read."""
    return settings.data_dir / "registry" / f"{settings.namespace}.{part}.sqlite"


def kept(settings: Settings) -> Registry:
    """The registry as the node of this data folder has kept it; empty where it has not."""
    found = Registry()
    found.restore(peek(file_of(settings, "node")))
    return found


class Reading:
    """Keeps what a registry has read of the log in a file, to go on from there.

    The file is a cache: without it, or where it is of another topic or release, all is read again.
    """

    def __init__(self, registry: Registry, settings: Settings, part: str) -> None:
        """`part` is the process: each has a file of its own."""
        self._registry = registry
        self._store = Store(file_of(settings, part))
        self._topic_id = ""
        self._changed: set[bytes] = set()
        self._lately: deque[tuple[int, int]] = deque()
        self._keeping: asyncio.Task[None] | None = None

    async def begin(self, topic_id: str) -> int:
        """Take up what was kept of this topic; from which offset to read on, 0 = all."""
        kept = await asyncio.to_thread(self._store.open)
        self._topic_id = topic_id and f"{topic_id} {FORM}"
        if not topic_id or kept.topic_id != self._topic_id:
            return 0
        self._registry.restore(kept.entries)
        return kept.next

    def begun(self, asked: int, at: int) -> None:
        """Reading began there: if not where it was asked to, what was kept is of no use."""
        if asked != at:
            self._registry.restore({})

    def anew(self) -> None:
        """The topic is another from here on; which one, the next start finds out."""
        self._topic_id = ""

    def note(self, key: bytes, offset: int, at_ms: int) -> None:
        """A record was read, and taken by the registry if it is no lease."""
        self._lately.append((at_ms, offset))
        while self._lately[0][0] < at_ms - AGAIN_MS:
            self._lately.popleft()
        if not key.startswith(_LEASE):
            self._changed.add(key)

    def keep(self) -> None:
        """Keep what has changed, in a thread; to be called now and then."""
        busy = self._keeping is not None and not self._keeping.done()
        if busy or not self._changed or not self._topic_id:
            return
        changed, self._changed = self._changed, set()
        entries = [(key, self._registry.entries.get(key)) for key in changed]
        again = self._lately[0][1]
        self._keeping = asyncio.create_task(
            asyncio.to_thread(self._store.keep, self._topic_id, again, entries)
        )

    async def end(self) -> None:
        """Keep what is left, and close the file."""
        for _ in range(2):  # what is under way, and what has changed since
            if self._keeping:
                await asyncio.gather(self._keeping, return_exceptions=True)
            self.keep()
        if self._keeping:
            await asyncio.gather(self._keeping, return_exceptions=True)
        await asyncio.to_thread(self._store.close)
