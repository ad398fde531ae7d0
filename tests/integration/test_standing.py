"""What the broker is asked about partitions: commits, bounds, records since a time, members."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka import Consumer, KafkaException, Message, Producer

from modelmora.broker import EmbeddedBroker
from modelmora.errors import Unreachable
from modelmora.kafka.reading.standing import Standing
from modelmora.settings import Settings
from tests.programs import ROOT
from tests.topics import create_topic, produce, until


@pytest.fixture
def settings(broker: EmbeddedBroker, namespace: str) -> Settings:
    return Settings(bootstrap_servers=broker.bootstrap_servers, namespace=namespace)


@pytest.fixture
def standing(settings: Settings) -> Iterator[Standing]:
    asked = Standing(settings)
    yield asked
    asked.close()


@pytest.fixture
def topic(settings: Settings) -> str:
    name = f"{settings.namespace}.results"
    stamped = {"message_timestamp_type": "LogAppendTime"}
    create_topic(str(settings.bootstrap_servers), name, partitions=2, **stamped)
    return name


def values(standing: Standing, topic: str, since_ms: int) -> list[bytes | None]:
    found: list[bytes | None] = []

    def take(message: Message) -> None:
        found.append(message.value())

    standing.read(topic, since_ms, take)
    return sorted(found, key=bytes.__len__)  # type: ignore[arg-type]


def test_where_partitions_begin_and_end(standing: Standing, settings: Settings, topic: str) -> None:
    produce(str(settings.bootstrap_servers), topic, b"1", b"2")
    assert standing.partitions(topic) == [(topic, 0), (topic, 1)]
    assert standing.partitions(f"{topic}.none") == []
    assert standing.bounds([(topic, 0), (topic, 1)]) == {(topic, 0): (0, 2), (topic, 1): (0, 0)}
    assert standing.bounds([]) == {}
    with pytest.raises(KafkaException):
        standing.bounds([(f"{topic}.none", 0)])


def test_everything_since_a_time_is_read(
    standing: Standing, settings: Settings, topic: str
) -> None:
    servers = str(settings.bootstrap_servers)
    produce(servers, topic, b"1")
    produce(servers, topic, b"22", partition=1)
    now_ms = int(time.time() * 1000)
    assert values(standing, topic, now_ms - 60_000) == [b"1", b"22"]
    assert values(standing, topic, now_ms + 60_000) == []
    assert values(standing, topic, 0) == [b"1", b"22"]


def test_what_was_aborted_is_no_outcome_and_no_end_to_wait_for(
    standing: Standing, settings: Settings, topic: str
) -> None:
    servers = str(settings.bootstrap_servers)
    produce(servers, topic, b"1")
    producer = Producer({"bootstrap.servers": servers, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"aborted", partition=0)
    producer.flush(30)
    assert standing.waiting({(topic, 0): 0})
    producer.abort_transaction(30)
    assert values(standing, topic, 0) == [b"1"]
    assert standing.bounds([(topic, 0)], committed=True)[topic, 0][1] > 1
    assert not standing.waiting({(topic, 0): 1}), "only marks of the transaction lie there"


async def test_metadata_that_another_client_wrote_is_read_whole(
    standing: Standing, settings: Settings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nodes before this one did; librdkafka's Python part may read beyond its end."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        group_id=settings.group,
        enable_auto_commit=False,
    )
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(7, "mm1:öß")})
    await consumer.stop()

    class Overreading:
        def committed(self, *_: object) -> list[object]:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(standing, "_consumer", Overreading())
    found = await asyncio.to_thread(standing.committed, [(topic, 0), (topic, 1)])
    assert found == {(topic, 0): (7, "mm1:öß")}


def test_the_members_of_a_group(standing: Standing, settings: Settings, topic: str) -> None:
    assert standing.members(settings.group).members == []
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": settings.group,
            "client.id": "n1",
            "log_level": 0,
        }
    )
    try:
        consumer.subscribe([topic])
        until = time.monotonic() + 60
        while not consumer.assignment() and time.monotonic() < until:
            consumer.poll(0.1)
        (member,) = standing.members(settings.group).members
        assert member.client_id == "n1"
        owned = {(each.topic, each.partition) for each in member.assignment.topic_partitions}
        assert owned == {(topic, 0), (topic, 1)}
    finally:
        consumer.close()


def test_a_broker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelmora.kafka.reading.standing.ANSWER_S", 1)
    standing = Standing(Settings(bootstrap_servers="127.0.0.1:1"))
    for ask in (
        lambda: standing.bounds([("t", 0)]),
        lambda: standing.members("g"),
        lambda: standing.committed([("t", 0)], wait_s=1),
        lambda: standing.partitions("t"),
    ):
        with pytest.raises((KafkaException, Unreachable)):
            ask()
    standing.close()


async def test_a_broker_that_was_killed_is_asked_with_success_by_a_new_client(
    mortal: EmbeddedBroker, namespace: str
) -> None:
    """An old one may cling for long to what was true before."""
    settings = Settings(bootstrap_servers=mortal.bootstrap_servers, namespace=namespace)
    name = f"{namespace}.results"
    create_topic(mortal.bootstrap_servers, name)
    standing = Standing(settings)
    assert standing.bounds([(name, 0)])
    mortal.kill()
    await mortal.start_async()

    def answered() -> bool:
        try:
            return standing.bounds([(name, 0)]) == {(name, 0): (0, 0)}
        except (KafkaException, Unreachable):
            standing.renew()
            return False

    await until(answered)
    standing.close()


ASKED = """
import os, signal, sys
from confluent_kafka.admin import AdminClient
from modelmora.errors import Unreachable
from modelmora.kafka.reading import standing
from modelmora.settings import Settings

broker = int(sys.argv[2])

class Freezing(AdminClient):
    def describe_consumer_groups(self, *args, **kwargs):
        os.kill(broker, signal.SIGSTOP)
        return super().describe_consumer_groups(*args, **kwargs)

asking = standing.Standing(Settings(bootstrap_servers=sys.argv[1]))
asking.members("warm")
standing.AdminClient, standing.ANSWER_S = Freezing, 1.0
for _ in range(3):
    asking.renew()
    client = asking._admin
    try:
        asking.members("asked")
    except Unreachable:
        pass
    os.kill(broker, signal.SIGCONT)
    client.list_topics(timeout=30)
    AdminClient.describe_consumer_groups(client, ["again"])["again"].exception(30)
"""


def test_a_coordinator_that_answers_too_late_ends_nobody(mortal: EmbeddedBroker) -> None:
    arguments = [mortal.bootstrap_servers, str(mortal.pid)]
    try:
        done = subprocess.run(
            [sys.executable, "-c", ASKED, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.kill(int(mortal.pid or 0), signal.SIGCONT)
    assert done.returncode == 0, done.stderr
