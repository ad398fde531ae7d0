"""Changing the registry for a caller, who is answered once the change was read back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from modelmora.access.rights import Told, Verb
from modelmora.errors import Conflict, Invalid, Unreachable
from modelmora.kafka.writing.publisher import Answer, Record, TooLarge
from modelmora.messages import EventKind, RegistryRecord
from modelmora.records import stepping, verbs
from modelmora.records.canaries import Canary, canary_facts
from modelmora.records.routes import route_facts
from modelmora.records.state import Entry, Registry
from modelmora.records.telling import key_of, named
from modelmora.routing import alone, main_version
from modelmora.settings import ModelConfig
from modelmora.settings.canaries import CanaryPlan
from modelmora.settings.routes import Route
from modelmora.wire import encode_registry

READ_BACK_S = 10.0
ATTEMPTS = 3
"""To end a canary, before whoever asks is told that another was faster."""


class Lost(Conflict):
    """Another has written it at the same time; read it again."""


def now_ms() -> int:
    """Unix ms."""
    return time.time_ns() // 1_000_000


Tell = Callable[[EventKind, tuple[str, str], Mapping[str, Any]], None]
Audited = Callable[[str, RegistryRecord], None]
"""Told what a caller is about to change, as a verb, and the record that is to count."""


class Registrar:
    """The verbs of `verbs`, written and read back; `state` is what was read, kept by its reader.

    `send` takes records to write, `tell` is told what a change of ours has done.
    """

    def __init__(
        self,
        state: Registry,
        send: Callable[[Record], None],
        topic: str,
        writer: str,
        tell: Tell = lambda *_: None,
        audited: Audited = lambda *_: None,
    ) -> None:
        self.state = state
        self._send = send
        self._topic = topic
        self._writer = writer
        self._tell = tell
        self._audited = audited
        self._waiting: dict[bytes, list[tuple[RegistryRecord, asyncio.Future[bool]]]] = {}

    def heard(self, key: bytes, record: RegistryRecord | None, offset: int) -> None:
        """A record was read, and taken by the state."""
        for sent, read in self._waiting.get(key, ()):
            if record == sent and not read.done():
                entry = self.state.entries.get(key)
                read.set_result(entry is not None and entry.offset == offset)

    async def register(self, config: ModelConfig) -> tuple[Entry, bool]:
        """What counts now, and whether it is new; the first version of a name is activated.

        As is one that wishes so. Raises Conflict, Invalid, Unreachable.
        """
        name, version = config.name, config.version
        names = {each.name for each in self.state.models()}
        record = verbs.register(self.state, config, self._writer)
        if record:
            await self._write(record, "install")
            kind = EventKind.VERSION_ADDED if name in names else EventKind.REGISTERED
            self._tell(kind, (name, version), {"task": config.task})
        if verbs.answers(self.state, config):
            await self.activate(name, version)
        return verbs.present(self.state, name, version), record is not None

    async def update(
        self, name: str, version: str, changes: Mapping[str, Any], base: int | None = None
    ) -> Entry:
        """What counts now. Raises NotFound, Conflict, Invalid, Unreachable."""
        record = verbs.update(self.state, name, version, changes, base)
        if record:
            await self._write(record, "update")
        return verbs.present(self.state, name, version)

    async def retire(self, name: str, version: str, base: int | None = None) -> Entry:
        """The record of what was there. Raises NotFound, Conflict, Unreachable."""
        entry = await self._write(verbs.retire(self.state, name, version, base), "uninstall")
        self._tell(EventKind.UNREGISTERED, (name, version), {})
        return entry

    async def activate(self, name: str, version: str) -> None:
        """Let a version answer for its name. Raises NotFound, Conflict, Unreachable."""
        await self.set_route(name, alone(version))

    async def set_route(self, name: str, route: Route, base: int | None = None) -> None:
        """Let a name be answered so. Raises NotFound, Conflict, Invalid, Unreachable."""
        entry = self.state.route(name)
        before = entry.record if entry else None
        record = verbs.set_route(self.state, name, route, self._writer, base)
        if record:
            await self._write(record, "route")
            if facts := route_facts(record, before):
                self._tell(EventKind.ROUTE_CHANGED, (name, main_version(route)), facts)

    async def start_canary(self, name: str, plan: CanaryPlan) -> None:
        """Let a version take over a name in steps. Raises as `stepping.start`, and Unreachable."""
        await self.tell_canary(stepping.start(self.state, name, plan, now_ms()))

    async def abort_canary(self, name: str) -> None:
        """End what takes over a name. Raises NotFound, Conflict, Unreachable."""
        for _ in range(ATTEMPTS):
            with suppress(Lost):  # against who judges it, and now and then tells what was seen
                await self.tell_canary(stepping.abort(self.state, name, now_ms()))
                return
        await self.tell_canary(stepping.abort(self.state, name, now_ms()))

    async def tell_canary(self, canary: Canary) -> None:
        """Tell how a canary stands, and route by it. Raises NotFound, Conflict, Unreachable."""
        record = stepping.canary_over(self.state, canary, self._writer, now_ms())
        await self._write(record, "canary")
        self._tell(EventKind.CANARY_DECIDED, record.key, canary_facts(canary))
        with suppress(Lost):  # another does the same
            await self.follow(canary)

    async def note_canary(self, canary: Canary) -> None:
        """Tell what was seen of one that stands as before. Raises Conflict, Unreachable."""
        await self._write(stepping.canary_over(self.state, canary, self._writer, now_ms()))

    async def follow(self, canary: Canary) -> None:
        """Have the route say what a canary does. Raises NotFound, Conflict, Unreachable."""
        entry = self.state.route(canary.name)
        record = stepping.follow(self.state, canary, self._writer, now_ms())
        if record:
            await self._write(record, "route")
            if facts := route_facts(record, entry.record if entry else None):
                self._tell(EventKind.ROUTE_CHANGED, record.key, facts)

    async def make_default(self, name: str) -> None:
        """Let a model answer for its task. Raises NotFound, Conflict, Unreachable."""
        record = verbs.make_default(self.state, name, self._writer)
        if record:
            await self._write(record, "default")

    def told(self) -> Told:
        """The roles and grants that all processes go by."""
        return self.state.told()

    async def tell(self, record: RegistryRecord | None) -> None:
        """Tell a role or a grant, as `granting` makes it; None changes nothing.

        Raises Conflict, Invalid, Unreachable.
        """
        if record:
            await self._write(replace(record, writer=self._writer), Verb.ADMIN)

    async def _write(self, record: RegistryRecord, verb: str | None = None) -> Entry:
        """Write, and wait until it was read: only the log says whether it counts."""
        key = key_of(record)
        read: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, [])
        waiting.append(mark := (record, read))

        def answered(answer: Answer) -> None:
            if isinstance(answer, TooLarge) and not read.done():
                read.set_exception(Invalid("the broker takes no record of this size"))

        if verb:
            self._audited(verb, record)
        try:
            self._send(Record(self._topic, key, encode_registry(record), answered, (), 0))
            async with asyncio.timeout(READ_BACK_S):
                counts = await read
        except TimeoutError:
            raise Unreachable(
                f"{self._topic} was not read back within {READ_BACK_S:.0f} s; "
                "look whether the change was made before you repeat it"
            ) from None
        finally:
            waiting.remove(mark)
            if not waiting:
                del self._waiting[key]
        if not counts:
            raise Lost(
                f"another has changed {named(record)} at the same time, or it came late, by this "
                "clock; read it again"
            )
        return self.state.entries[key]
