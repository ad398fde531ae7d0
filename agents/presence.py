"""This node's lease on `registry`: that it runs, what it serves, which partitions it reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from modelmora.agents.intake import Intake
from modelmora.agents.lifecycle import Sender
from modelmora.kafka.leases import Leases
from modelmora.kafka.topics import Topic, lane_topics
from modelmora.kafka.writing.publisher import Answer
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import RegistryKind, RegistryRecord
from modelmora.records import key_of
from modelmora.serving import Offered
from modelmora.settings import Settings
from modelmora.wire import encode_registry


class Presence:
    """Renews the lease four times while it holds, and at every change.

    `standing` tells what the node serves, by name@version.
    """

    def __init__(
        self,
        settings: Settings,
        node: str,
        standing: Callable[[], Mapping[str, Offered]],
        intake: Intake,
        leases: Leases,
        sender: Sender,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._lease_s = settings.timing.session_timeout_s
        self._lanes = list(lane_topics(settings))
        self._topic = Topic.REGISTRY.full(settings.namespace)
        self._standing = standing
        self._intake = intake
        self._leases = leases
        self._sender = sender
        self._now = monotonic
        self._told: RegistryRecord | None = None
        self._due = 0.0
        self._writing = False

    def tell(self) -> None:
        """Renew the lease where that is due; forget nodes that are long gone."""
        record, now = self._record(), self._now()
        if self._writing or (record == self._told and now < self._due):
            return
        self._told, self._due = record, now + self._lease_s / 4
        self._writing = True
        self._write(key_of(record), encode_registry(record))
        for key in self._leases.forgotten():
            self._write(key, None)

    def leave(self) -> None:
        """The node is about to end."""
        if self._told:
            self._write(key_of(self._told), None)

    def _record(self) -> RegistryRecord:
        owned = self._intake.partitions()
        whole = {n for _, n in owned if all((lane, n) in owned for lane in self._lanes)}
        models = self._standing()
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
        )

    def _write(self, key: bytes, value: bytes | None) -> None:
        self._sender.send(Outgoing(self._topic, key, value, self._written, (), 0))

    def _written(self, _: Answer) -> None:
        self._writing = False
