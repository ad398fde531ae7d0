"""Records on their way to the broker, each with a span where its trace is recorded."""

from __future__ import annotations

import time
from collections.abc import Collection

from modelmora.kafka.writing.outbox import Answer, Dropped, Record, TooLarge, Written
from modelmora.messages.headers import TRACEPARENT, header_of
from modelmora.messages.traceparent import is_sampled, sibling
from modelmora.telemetry import conventions as names
from modelmora.telemetry.spans import Spans


def follow(spans: Spans, record: Record, kept: Collection[str] = ()) -> None:
    """Make a span of the record's way to the broker, once that has decided it.

    The record names that span from now on, unless it is for a topic of those that are `kept`. One
    whose trace is not recorded is left as it is.
    """
    parent = (header_of(record.headers, TRACEPARENT) or b"").decode("latin-1")
    if isinstance(record.done, _Followed) or not is_sampled(parent):
        return
    own = sibling(parent)
    record.done = _Followed(spans, record, parent, own)
    if record.topic not in kept:
        record.headers = tuple(
            (name, own.encode() if name == TRACEPARENT else value) for name, value in record.headers
        )


class _Followed:
    """What a record's writer is told, and the span that is made of it."""

    def __init__(self, spans: Spans, record: Record, parent: str, own: str) -> None:
        self._spans = spans
        self._record = record
        self._names = parent, own
        self._told = record.done
        self._since = time.monotonic()

    def __call__(self, answer: Answer) -> None:
        record, (parent, own) = self._record, self._names
        if not isinstance(answer, Dropped):
            written = answer if isinstance(answer, Written) else None
            partition = written.partition if written else record.partition
            offset = written.offset if written and written.offset >= 0 else None
            self._spans.wrote(
                names.named(names.SEND, record.topic),
                own,
                parent,
                names.message(names.SEND, record.topic, partition, offset),
                time.monotonic() - max(self._since, record.since),
                "" if written else "too_large" if isinstance(answer, TooLarge) else "refused",
            )
        self._told(answer)
