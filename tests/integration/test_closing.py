"""A reader that is closed while its broker fails leaves nothing behind."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from modelmora.broker import EmbeddedBroker
from modelmora.kafka.reading.closing import close
from tests.topics import create_topic, until


def pauses(task: asyncio.Task[bool]) -> bool:
    """Whether it waits before the next try."""
    waits = getattr(task.get_coro(), "cr_await", None)
    return getattr(waits, "__name__", "") == "sleep"


async def test_one_whose_fetch_has_failed_leaves_no_task_and_no_connection(
    broker: EmbeddedBroker, namespace: str
) -> None:
    topic = f"{namespace}.closing"
    create_topic(broker.bootstrap_servers, topic, partitions=1)
    before = asyncio.all_tasks()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=60_000,
        retry_backoff_ms=600_000,
    )
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.position(TopicPartition(topic, 0))
    await until(lambda: any(each._requests for each in consumer._client._conns.values()))
    for connection in [*consumer._client._conns.values()]:
        connection.close()
    await until(lambda: any(map(pauses, consumer._fetcher._pending_tasks)))
    await close(consumer)
    await until(lambda: asyncio.all_tasks() <= before)
    assert not any(each.connected() for each in consumer._client._conns.values())
