"""This node's lease on `registry`: that it runs, what it serves, which partitions it reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from modelmora.agents.lifecycle import Sender
from modelmora.agents.partitions.intake import Intake
from modelmora.kafka.batches import Partition
from modelmora.kafka.leases import HELD_BACK, Leases, held_back_text
from modelmora.kafka.topics import Topic, lane_topics
from modelmora.kafka.writing.publisher import Answer, Written
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import Holding, RegistryKind, RegistryRecord
from modelmora.records import key_of
from modelmora.serving import Offered
from modelmora.settings import Settings
from modelmora.wire import encode_registry

HOLDING_S = 2.0


class Presence:
    """Renews the lease four times while it holds, and at every change.

    `look` tells what the node serves and what its models hold, by name@version. All of it is one
    record, which everybody reads: what goes up and down waits for the renewal.
    """

    def __init__(
        self,
        settings: Settings,
        node: str,
        look: Callable[[], tuple[Mapping[str, Offered], Mapping[str, Holding]]],
        intake: Intake,
        leases: Leases,
        sender: Sender,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._lease_s = settings.timing.session_timeout_s
        self._lanes = list(lane_topics(settings))
        self._topic = Topic.REGISTRY.full(settings.namespace)
        self._look = look
        self._intake = intake
        self._leases = leases
        self._sender = sender
        self._now = monotonic
        self._wall = wall
        self._sent_at = 0.0
        """When the last record was written, by this machine's clock (Unix s)."""
        self.ahead_s = 0.0
        """How far that clock is surely ahead of the broker's, by its last acknowledgement."""
        self._told: RegistryRecord | None = None
        self._due = self._told_at = 0.0
        self._held_at: float | None = None
        self._held_back: set[Partition] = set()
        """What was not read at some time since the last record, on purpose."""
        self._writing = self._left = False

    def tell(self) -> None:
        """Renew the lease where that is due; forget nodes that are long gone."""
        self._held_back |= self._intake.gated
        record, now = self._record(), self._now()
        if self._left or self._writing or not self._is_news(record, now):
            return
        self._told, self._told_at, self._due = record, now, now + self._lease_s / 4
        if self._held_at is None:
            self._held_at = now
        self._writing, self._held_back = True, set()
        self._write(key_of(record), encode_registry(record))
        for key in self._leases.forgotten():
            self._write(key, None)

    def _is_news(self, record: RegistryRecord, now: float) -> bool:
        """Whether it is to be told now.

        (1) It is due. (2) It says something else of what this node serves, or of what is pinned.
        (3) Or of which processes its models have, and where; not too often.
        """
        # (1), (2)
        before = self._told
        if before is None or now >= self._due:
            return True
        if replace(record, holding={}) != replace(before, holding={}):
            return True
        told, now_told = _read(before.holding), _read(record.holding)
        if _pinned(told) != _pinned(now_told):
            return True
        # (3)
        return now >= self._told_at + HOLDING_S and _placed(told) != _placed(now_told)

    @property
    def lapsing_s(self) -> float:
        """For how long the broker has acknowledged no renewal; 0 before the first was told."""
        return 0.0 if self._held_at is None else self._now() - self._held_at

    def leave(self) -> None:
        """The node is about to end, and tells no more of itself."""
        self._left = True
        if self._told:
            self._write(key_of(self._told), None)

    def _record(self) -> RegistryRecord:
        owned = self._intake.partitions()
        whole = {n for _, n in owned if all((lane, n) in owned for lane in self._lanes)}
        models, holding = self._look()
        told = {name: each.text for name, each in holding.items() if each.text}
        told[HELD_BACK] = held_back_text(self._held_back)
        return RegistryRecord(
            RegistryKind.NODE,
            self._node,
            "",
            "",
            "",
            self._node,
            lease_ms=round(self._lease_s * 1000),
            serves={name: each.task for name, each in models.items() if not each.health.hopeless},
            partitions=tuple(sorted(whole)),
            failed={
                name: each.health.reason for name, each in models.items() if each.health.reason
            },
            states={name: each.health.state.value for name, each in models.items()},
            holding=told,
        )

    def _write(self, key: bytes, value: bytes | None) -> None:
        self._sent_at = self._wall()
        self._sender.send(Outgoing(self._topic, key, value, self._written, (), 0))

    def _written(self, answer: Answer) -> None:
        self._writing = False
        if isinstance(answer, Written):
            self._held_at = self._now()
            if answer.timestamp > 0:  # else the topic does not carry the broker's clock
                self._compare(answer.timestamp / 1000)

    def _compare(self, at: float) -> None:
        """The broker had the record at this time (Unix s), between its writing and now."""
        late, early = self._sent_at - at, self._wall() - at
        self.ahead_s = late if late > 0 else min(early, 0.0)


def _pinned(holding: Mapping[str, Holding]) -> set[str]:
    return {name for name, each in holding.items() if each.pinned}


def _placed(holding: Mapping[str, Holding]) -> dict[str, tuple[str | None, int | None]]:
    return {name: (each.device, each.pid) for name, each in holding.items() if each.device}


def _read(holding: Mapping[str, str]) -> Mapping[str, Holding]:
    return {name: Holding.read(text) for name, text in holding.items()}
