"""An event as a record of `events`: CloudEvents in binary mode.

CloudEvents 1.0, Kafka protocol binding: attributes are `ce_` headers, the value is the data.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from modelmora.kafka.topics import Topic
from modelmora.kafka.writing.publisher import Answer
from modelmora.kafka.writing.publisher import Record as Outgoing
from modelmora.messages import LifecycleEvent
from modelmora.wire import encode_event


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


def event_record(
    event: LifecycleEvent, namespace: str, kind: str, done: Callable[[Answer], None]
) -> Outgoing:
    """The record to write; `kind` says what its teller is: `nodes` or `gateways`."""
    headers = cloud_event(event, f"/{namespace}/{kind}/{event.node}")
    key = (event.model or event.node).encode()
    return Outgoing(Topic.EVENTS.full(namespace), key, encode_event(event), done, headers)
