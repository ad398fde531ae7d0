"""What ModelMora is measured beside: the barest echo through Faust, aiokafka, confluent-kafka.

Run as a process of its own: `python -m modelmora.bench.beside.bare KIND SERVERS SOURCE TARGET`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import uuid
from typing import Any


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


async def _producer(servers: str) -> Any:
    """The producer that ModelMora's node uses, with its settings."""
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(
        bootstrap_servers=servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=256 * 1024,
    )
    await producer.start()
    return producer


async def faust_echo(servers: str, source: str, target: str) -> None:
    """A plain Faust agent, as its documentation writes one, with a producer of its own."""
    import faust

    app = faust.App(
        f"bench-{uuid.uuid4().hex[:8]}",
        broker=f"kafka://{servers}",
        web_enabled=False,
        datadir=tempfile.mkdtemp(),
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="latest",
    )
    producer = await _producer(servers)
    raw = {"value_type": bytes, "value_serializer": "raw", "key_type": bytes}
    topic = app.topic(source, key_serializer="raw", **raw)

    @app.agent(topic)
    async def echo(stream: Any) -> None:
        async for event in stream.events():
            headers = event.message.headers
            await producer.send(target, event.value, event.key, headers=list(headers or ()))

    @app.on_partitions_assigned.connect
    async def assigned(_app: Any, partitions: set[Any], **_: Any) -> None:
        if partitions:
            asyncio.get_running_loop().call_later(1.0, _say_ready)

    await app.start()
    await asyncio.Event().wait()


async def aiokafka_echo(servers: str, source: str, target: str) -> None:
    """Aiokafka's consumer and producer in one loop."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=servers,
        group_id=f"bench-{uuid.uuid4().hex[:8]}",
        enable_auto_commit=False,
        auto_offset_reset="latest",
    )
    producer = await _producer(servers)
    await consumer.start()
    while not consumer.assignment():
        await asyncio.sleep(0.05)
    for tp in consumer.assignment():
        await consumer.position(tp)
    _say_ready()
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            for record in records:
                await producer.send(target, record.value, record.key, headers=record.headers)


def confluent_echo(servers: str, source: str, target: str) -> None:
    """Librdkafka's consumer and producer: the ceiling of the clients."""
    from confluent_kafka import Consumer, Producer

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"bench-{uuid.uuid4().hex[:8]}",
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "log_level": 0,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            "queue.buffering.max.messages": 1_000_000,
            "log_level": 0,
        }
    )
    assigned: list[Any] = []
    consumer.subscribe([source], on_assign=lambda _, tps: assigned.extend(tps))
    while not assigned:
        consumer.poll(0.1)
    for tp in assigned:
        consumer.get_watermark_offsets(tp)
    consumer.poll(1.0)
    _say_ready()
    while True:
        for message in consumer.consume(500, 0.001):
            if not message.error():
                headers = message.headers() or []
                producer.produce(target, message.value(), message.key(), headers=headers)
        producer.poll(0)


def main() -> None:
    """Echo until killed."""
    kind, servers, source, target = sys.argv[1:5]
    if kind == "confluent":
        confluent_echo(servers, source, target)
    import uvloop

    uvloop.run({"faust": faust_echo, "aiokafka": aiokafka_echo}[kind](servers, source, target))


if __name__ == "__main__":
    main()
