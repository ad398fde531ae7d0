"""A member of the made-up group: what `modelmora.kafka.group` does, without librdkafka."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from modelmora.kafka.batches import Batch, Commits, Partition, Record
from tests.protocol.broker import SESSION_S, Broker

if TYPE_CHECKING:
    from tests.protocol.node import Node

FETCH = 3
REVOKE_S = SESSION_S / 2


class Member:
    """Stands where librdkafka's thread does; `poll` is a turn of it."""

    def __init__(self, node: Node, broker: Broker) -> None:
        self.node = node
        self._broker = broker
        self._now = node.now
        self._epoch = 0
        self.epochs: dict[Partition, int] = {}
        self.next: dict[Partition, int] = {}
        self._orders: dict[Partition, tuple[int, int]] = {}
        self._stale: list[tuple[Partition, int]] = []
        self._gated: set[Partition] = set()
        self._asked: tuple[Commits, float] | None = None
        self._answer: str | bool | None = False
        """What the broker has said to the commit; False: nothing yet."""
        self._leaving: tuple[set[Partition], asyncio.Task[Commits], float] | None = None
        self.heard = self._now()
        self.fenced = False
        broker.join(self)

    # From the loop -------------------------------------------------------------------------------

    def read(self, places: Mapping[Partition, tuple[int, int]]) -> None:
        """Read each partition from its (epoch, offset) on."""
        self._orders |= places

    def gate(self, gated: Iterable[Partition]) -> None:
        """Read exactly these no further."""
        self._gated = set(gated)

    def renew(self, partition: Partition, epoch: int) -> None:
        """Have it anew: the log that it was read from is not there any more."""
        self._stale.append((partition, epoch))

    @property
    def committing(self) -> bool:
        """Whether a commit is under way."""
        return self._asked is not None

    def commit(self, commits: Commits) -> None:
        """Ask the group to commit."""
        self._asked, self._answer = (commits, self._now()), False

    # The thread ----------------------------------------------------------------------------------

    def poll(self) -> None:
        """Hear what the group says, ask what is to be asked, then fetch."""
        if self._leaving and not self._let_go():
            return
        if self.fenced:
            self._lost()
            return
        self._hear_of_commit()
        mine = {each for each, owner in self._broker.held.items() if owner is self}
        gone = {each for each in mine if self._broker.wanted.get(each) is not self}
        if gone:
            self._revoke(gone)
            return
        if free := {
            each
            for each, owner in self._broker.wanted.items()
            if owner is self and each not in self._broker.held
        }:
            self._broker.held.update(dict.fromkeys(free, self))
            self._assign(free)
        self._obey()
        self._fetch()

    def _obey(self) -> None:
        for partition, epoch in self._stale:
            if self.epochs.get(partition) == epoch:
                self.next.pop(partition, None)
                self._assign({partition})
        self._stale.clear()
        for partition, (epoch, offset) in self._orders.items():
            if self.epochs.get(partition) == epoch:
                self.next[partition] = offset
        self._orders.clear()

    def _hear_of_commit(self) -> None:
        if self._asked is None:
            return
        commits, at = self._asked
        if self._answer is False:
            self._answer = None if self._broker.commit(self, commits, at) else "not a member"
            return
        error, self._asked = self._answer, None
        self.node.call(self.node.partitions.on_committed, commits, at, error)

    def _assign(self, partitions: set[Partition]) -> None:
        epochs = {}
        for each in sorted(partitions):
            self._epoch += 1
            epochs[each] = self._epoch
        self.epochs |= epochs
        self.node.call(lambda: self.node.partitions.on_assigned(epochs))

    def _revoke(self, gone: set[Partition]) -> None:
        self._forget(gone)
        task = self.node.task(lambda: self.node.partitions.on_revoked(gone))
        self._leaving = gone, task, self._now()
        self._let_go()

    def _let_go(self) -> bool:
        """Whether what was to be given back is."""
        assert self._leaving
        gone, task, since = self._leaving
        if not task.done() and self._now() - since < REVOKE_S:
            return False
        if task.done() and task.result():
            self._broker.commit(self, task.result(), since)
        if not self.fenced:
            for each in gone:
                self._broker.held.pop(each, None)
        self._leaving = None
        return True

    def _lost(self) -> None:
        gone = {*self.epochs}
        self._forget(gone)
        if self._asked:
            commits, at = self._asked
            self._asked = None
            self.node.call(lambda: self.node.partitions.on_committed(commits, at, "fenced"))
        self.node.call(lambda: self.node.partitions.on_lost(gone))
        self.fenced = False
        self.heard = self._now()
        self._broker.join(self)

    def _forget(self, partitions: set[Partition]) -> None:
        for each in partitions:
            self.epochs.pop(each, None)
            self.next.pop(each, None)

    def _fetch(self) -> None:
        found = []
        for partition in sorted(self.next):
            start, epoch = self.next[partition], self.epochs[partition]
            log = self._broker.lanes[partition]
            if start > log.end:
                del self.next[partition]
                self.node.call(self.node.partitions.on_stuck, partition, epoch, start, "gone")
                continue
            stored = log.records[start : start + FETCH]
            if partition in self._gated or not stored:
                continue
            records = [
                Record(*partition, one.offset, epoch, one.ms, b"k", one.content, one.headed)
                for one in stored
            ]
            self.next[partition] = stored[-1].offset + 1
            found.append(Batch(partition, epoch, start, records))
        if found:
            self.node.feed.append(found)
