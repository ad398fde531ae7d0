"""How many of the records that wait go into one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modelmora.kafka.writing.outbox import Record

BATCH_RECORDS = 5_000
BATCH_TOTAL_BYTES = 16 << 20


def together(queues: Iterable[Sequence[Record]]) -> list[Record]:
    """The first of each queue, up to one that goes alone or to the most of a transaction."""
    batch, size = list[Record](), 0
    for waiting in queues:
        for number in range(min(len(waiting), BATCH_RECORDS - len(batch))):
            record = waiting[number]
            if record.alone or size >= BATCH_TOTAL_BYTES:
                break
            batch.append(record)
            size += record.size
    return batch
