"""Stepping over records that the client library itself cannot hand over.

aiokafka decodes header names as UTF-8 while it iterates over a fetched batch; one record with
another name makes every fetch of its partition raise, for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

# What the record parser raises on bytes that are not a record it can represent.
PARSE_FAULTS = (UnicodeDecodeError,)
_PATIENCE_MS = 1000
_AT_MOST = 500  # records of one partition at a time, however many wait behind them


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record of which only the place is known."""

    topic: str
    partition: int
    offset: int
    epoch: int = 0


Batch = list[ConsumerRecord | Unreadable]


async def step_over(
    consumer: AIOKafkaConsumer, positions: Mapping[TopicPartition, int | None]
) -> dict[TopicPartition, Batch]:
    """Read partitions one record at a time, some of each, and pass one unreadable one.

    A failed fetch has thrown away records of other partitions too, so reading starts again at
    `positions` (None: where the consumer stands). Runs on the consumer's own loop.
    """
    batches: dict[TopicPartition, Batch] = {}
    for tp, position in positions.items():
        if position is not None:
            consumer.seek(tp, position)
    ends = await consumer.end_offsets(list(positions))
    for tp in positions:
        batch = batches.setdefault(tp, [])
        while len(batch) < _AT_MOST and await consumer.position(tp) < ends[tp]:
            try:
                got = await consumer.getmany(tp, timeout_ms=_PATIENCE_MS, max_records=1)
            except PARSE_FAULTS:
                bad = await consumer.position(tp)
                consumer.seek(tp, bad + 1)
                batch.append(Unreadable(tp.topic, tp.partition, bad))
                break
            records = got.get(tp, [])
            if not records:
                break
            batch.extend(records)
    return {tp: batch for tp, batch in batches.items() if batch}
