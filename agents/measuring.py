"""What this node has measured of its models: told on `registry`, and taken up at its next start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from modelmora.agents.lifecycle import Sender
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.records import GONE, Registry, key_of
from modelmora.records.measured import Measured, differs, joined, known, read, told
from modelmora.scheduling import ModelKey
from modelmora.wire import encode_registry

EVERY_S = 30.0
"""A model is told of no more often."""


class Measuring:
    """Tells what is worth it; nodes that come and go share the records of the `node` ""."""

    def __init__(
        self,
        state: Registry,
        sender: Sender,
        namespace: str,
        node: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._sender = sender
        self._topic = Topic.REGISTRY.full(namespace)
        self._node = node
        self._now = monotonic
        self._told_at: dict[bytes, float] = {}

    def known(self, key: ModelKey, mark: str) -> Measured | None:
        """What to begin with."""
        return known(self._state, key, self._node, mark)

    def tell(self, measured: Mapping[ModelKey, Measured], *, last: bool = False) -> None:
        """Tell what has changed by a meaningful share; `last`: however lately it was told.

        Of a model that is registered no more, what was told is taken away.
        """
        every_s = 0.0 if last else EVERY_S
        for key, found in measured.items():
            if self._is_there(key):
                self._tell(key, found, every_s)
        for entry in self._state.measured():
            ours = entry.record.writer == self._node and entry.offset != GONE
            if ours and not self._is_there(entry.record.key):
                self._write(key_of(entry.record), None, every_s)

    def _is_there(self, key: ModelKey) -> bool:
        entry = self._state.model(*key)
        return entry is not None and entry.record.present

    def _tell(self, key: ModelKey, found: Measured, every_s: float) -> None:
        record = told(key, self._node, found)
        entry = self._state.entries.get(key_of(record))
        former = read(entry.record) if entry else None
        if not self._node:
            found = joined(former, found)
            record = told(key, self._node, found)
        if differs(former, found):
            self._write(key_of(record), encode_registry(record), every_s)

    def _write(self, key: bytes, value: bytes | None, every_s: float) -> None:
        now = self._now()
        if now < self._told_at.get(key, float("-inf")) + every_s:
            return
        self._told_at[key] = now
        self._sender.send(Outgoing(self._topic, key, value, _nothing, (), 0))


def _nothing(_: Answer) -> None:
    """It is told again where it was lost."""
