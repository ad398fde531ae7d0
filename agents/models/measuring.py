"""What this node has measured of its models: told on `registry`, and taken up at its next start."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from modelmora.agents.lifecycle import Sender
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import RegistryRecord
from modelmora.records import GONE, Registry, key_of
from modelmora.records.measured import Measured, differs, joined, known, read, told, told_at_s
from modelmora.scheduling import ModelKey
from modelmora.wire import encode_registry

EVERY_S = 30.0
"""A model is told of no more often."""
ANEW_S = 86_400.0
"""What is still so is told again after that."""
KEPT_S = 7 * ANEW_S
"""So long what a node has told stays when it does not run."""


class Measuring:
    """Tells what is worth it; nodes that come and go share the records of the `node` ""."""

    def __init__(
        self,
        state: Registry,
        sender: Sender,
        namespace: str,
        node: str,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._sender = sender
        self._topic = Topic.REGISTRY.full(namespace)
        self._node = node
        self._now = monotonic
        self._wall = wall
        self._told_at: dict[bytes, float] = {}
        self._cleared_at = float("-inf")

    def known(self, key: ModelKey, mark: str) -> Measured | None:
        """What to begin with."""
        return known(self._state, key, self._node, mark)

    def tell(
        self,
        measured: Mapping[ModelKey, Measured],
        living: Collection[str] | None = None,
        *,
        last: bool = False,
    ) -> None:
        """Tell what has changed by a meaningful share; `last`: however lately it was told.

        What is of no use any more is taken away. `living` are the nodes that run, where this one
        clears up after those that do not.
        """
        every_s = 0.0 if last else EVERY_S
        for key, found in measured.items():
            if self._is_there(key):
                self._tell(key, found, every_s)
        if living is not None and self._now() < self._cleared_at + EVERY_S:
            living = None
        elif living is not None:
            self._cleared_at = self._now()
        for entry in self._state.measured():
            if entry.offset != GONE and self._is_useless(entry.record, living):
                self._write(key_of(entry.record), None, every_s)

    def _is_useless(self, record: RegistryRecord, living: Collection[str] | None) -> bool:
        """Whether it is this node's to take away.

        (1) Its model is registered no more.
        (2) Its node does not run, and has told it long ago; those that share a name are never gone.
        """
        # (1)
        ours = record.writer == self._node
        if not self._is_there(record.key):
            return ours or living is not None
        # (2)
        if ours or not record.writer or living is None or record.writer in living:
            return False
        return self._wall() - told_at_s(record) > KEPT_S

    def _is_there(self, key: ModelKey) -> bool:
        entry = self._state.model(*key)
        return entry is not None and entry.record.present

    def _tell(self, key: ModelKey, found: Measured, every_s: float) -> None:
        now = self._wall()
        record = told(key, self._node, found, now)
        entry = self._state.entries.get(key_of(record))
        former = read(entry.record) if entry else None
        if not self._node:
            found = joined(former, found)
            record = told(key, self._node, found, now)
        if differs(former, found) or (entry and now - told_at_s(entry.record) > ANEW_S):
            self._write(key_of(record), encode_registry(record), every_s)

    def _write(self, key: bytes, value: bytes | None, every_s: float) -> None:
        now = self._now()
        if now < self._told_at.get(key, float("-inf")) + every_s:
            return
        self._told_at[key] = now
        self._sender.send(Outgoing(self._topic, key, value, _nothing, (), 0))


def _nothing(_: Answer) -> None:
    """It is told again where it was lost."""
