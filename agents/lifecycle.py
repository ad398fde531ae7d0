"""What happens to models and this node, told on `events` as CloudEvents in binary mode.

CloudEvents 1.0, Kafka protocol binding: attributes are `ce_` headers, the value is the data.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import structlog

from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer, Written
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import EventKind, LifecycleEvent, Parameter
from modelmora.wire import encode_event

log = structlog.get_logger(__name__)
_FAILURES = {EventKind.LOAD_FAILED, EventKind.CRASHED, EventKind.QUARANTINED}


class Sender(Protocol):
    """Writes records; see `modelmora.kafka.writing.publisher`."""

    def send(self, record: Outgoing) -> None:
        """Take a record; returns at once."""


def cloud_event(event: LifecycleEvent, source: str) -> list[tuple[str, bytes]]:
    """The headers of an event; `partitionkey` is the record's key."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": event.id,
        "ce_source": source,
        "ce_type": f"modelmora.{event.kind.value}",
        "ce_time": datetime.fromtimestamp(event.time / 1000, UTC).isoformat(),
        "ce_subject": f"{event.model}@{event.version}" if event.model else event.node,
        "ce_partitionkey": event.model or event.node,
        "content-type": "application/avro",
    }
    return [(name, text.encode()) for name, text in attributes.items()]


class Lifecycle:
    """Writes the events of one node; `heard` is told the broker's time (Unix ms) and partition."""

    def __init__(
        self,
        sender: Sender,
        node: str,
        namespace: str,
        heard: Callable[[int, Hashable], None] = lambda *_: None,
    ) -> None:
        self._sender = sender
        self._heard = heard
        self.node = node
        self._topic = Topic.EVENTS.full(namespace)
        self._source = f"/{namespace}/nodes/{node}"

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
        tell = log.warning if kind in _FAILURES else log.info
        tell(kind.value, model=name, version=version, **event.facts)
        key = (name or self.node).encode()
        headers = cloud_event(event, self._source)
        self._sender.send(Outgoing(self._topic, key, encode_event(event), self._answer, headers))

    def _answer(self, answer: Answer) -> None:
        if isinstance(answer, Written):
            self._heard(answer.timestamp, (self._topic, answer.partition))
