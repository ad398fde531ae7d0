"""What happens to models and this node, told on `events` as CloudEvents in binary mode.

CloudEvents 1.0, Kafka protocol binding: attributes are `ce_` headers, the value is the data.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Protocol

import structlog

from modelmora.kafka.events import event_record
from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer, Written
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import EventKind, LifecycleEvent, Parameter

log = structlog.get_logger(__name__)
_FAILURES = {EventKind.LOAD_FAILED, EventKind.CRASHED, EventKind.QUARANTINED}


class Sender(Protocol):
    """Writes records; see `modelmora.kafka.writing.publisher`."""

    def send(self, record: Outgoing) -> None:
        """Take a record; returns at once."""


class Lifecycle:
    """Writes the events of one node; `heard` is told the broker's time (Unix ms) and place."""

    def __init__(
        self,
        sender: Sender,
        node: str,
        namespace: str,
        heard: Callable[[int, Hashable, int], None] = lambda *_: None,
    ) -> None:
        self._sender = sender
        self._heard = heard
        self.node = node
        self.told: Counter[EventKind] = Counter()
        """How many events of each kind."""
        self._topic = Topic.EVENTS.full(namespace)
        self._namespace = namespace

    def event(
        self,
        kind: EventKind,
        model: tuple[str, str] | None = None,
        facts: Mapping[str, Parameter] | None = None,
    ) -> None:
        """Tell that something happened, to a model or to the node itself."""
        name, version = model or (None, None)
        event = LifecycleEvent(
            id=str(uuid.uuid4()),
            kind=kind,
            node=self.node,
            time=time.time_ns() // 1_000_000,
            model=name,
            version=version,
            facts=dict(facts or {}),
        )
        self.told[kind] += 1
        tell = log.warning if kind in _FAILURES else log.info
        tell(kind.value, model=name, version=version, **event.facts)
        self._sender.send(event_record(event, self._namespace, "nodes", self._answer))

    def _answer(self, answer: Answer) -> None:
        if isinstance(answer, Written):
            self._heard(answer.timestamp, (self._topic, answer.partition), answer.offset)
