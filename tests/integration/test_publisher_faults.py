"""The publisher where one topic is broken, where it may not publish, where nobody wants it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from modelmora.broker import EmbeddedBroker
from modelmora.errors import Unreachable
from modelmora.kafka.writing import producing
from modelmora.kafka.writing.publisher import Answer, Dropped, Publisher, Record, TooLarge, Written
from modelmora.settings import Settings
from modelmora.wire import partition_of
from tests.checker.reading import read_records
from tests.integration.test_publisher import Answers, publishing, settings
from tests.programs import ROOT
from tests.topics import CAP_S, create_topic, delete_topic, until, values_of

__all__ = ["settings"]


async def flushed(publisher: Publisher) -> None:
    await asyncio.wait_for(publisher.flush(), CAP_S)


@pytest.mark.row("F30")
@pytest.mark.parametrize("name", ["dead-letters", "control"])
async def test_a_deleted_topic_holds_up_no_other_and_flows_when_it_is_back(
    settings: Settings, name: str
) -> None:
    servers = str(settings.bootstrap_servers)
    broken, good = f"{settings.namespace}.{name}", f"{settings.namespace}.results"
    for topic in (broken, good):
        create_topic(servers, topic)
    held, answers = Answers(), Answers()
    async with publishing(settings, timeout_s=2) as publisher:
        publisher.send(held.record(broken, b"before"))
        publisher.send(answers.record(good, b"before"))
        await flushed(publisher)
        await asyncio.to_thread(delete_topic, servers, broken)
        for number in range(200):
            publisher.send(held.record(broken, b"%d" % number))
            publisher.send(answers.record(good, b"%d" % number))
        await until(lambda: answers.count == 201)
        await until(lambda: broken in publisher.parked)
        publisher.send(answers.record(good, b"while parked"))
        await until(lambda: answers.count == 202)
        assert (held.count, publisher.backlog_of([broken])) == (1, 200)
        assert (
            0 == publisher.oldest_s([good]) < publisher.oldest_s([broken]) <= publisher.oldest_s()
        )
        assert publisher.parked.keys() == {broken}
        assert publisher.connected
        await asyncio.to_thread(create_topic, servers, broken)
        await flushed(publisher)
        assert publisher.parked == {}
        assert (publisher.oldest_s(), publisher.backlog, publisher.backlog_bytes) == (0, 0, 0)
    assert values_of(servers, broken) == [b"%d" % number for number in range(200)]
    assert len(held.offsets()) == len(answers.offsets()) - 1 == 201


async def test_progress_without_its_topic_is_bounded_and_the_oldest_goes(
    settings: Settings,
) -> None:
    servers = str(settings.bootstrap_servers)
    progress, events = f"{settings.namespace}.progress", f"{settings.namespace}.events"
    create_topic(servers, events)
    told: Counter[type[Answer]] = Counter()
    answers = Answers()

    def count(answer: Answer) -> None:
        told[type(answer)] += 1

    async with publishing(settings, drop_oldest={progress: 1000}) as publisher:
        publisher.send(Record(progress, b"k", b"first", count))
        await until(lambda: bool(publisher.parked))
        for number in range(120_000):
            publisher.send(Record(progress, b"k", b"%d" % number, count))
        publisher.send(answers.record(events, b"event"))
        await until(lambda: bool(answers.count))
        assert publisher.backlog <= 1001
        await asyncio.to_thread(create_topic, servers, progress)
        await flushed(publisher)
    assert told.total() == 120_001
    values = values_of(servers, progress)
    assert values[-1000:] == [b"%d" % number for number in range(119_000, 120_000)]
    assert told == {Written: len(values), Dropped: 120_001 - len(values)}


async def test_nothing_is_written_while_the_fence_is_closed(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.fence"
    create_topic(servers, topic)
    answers = Answers()
    is_open, asked = False, 0

    def may_publish() -> bool:
        nonlocal asked
        asked += 1
        return is_open

    async with publishing(settings, may_publish=may_publish) as publisher:
        for number in range(100):
            publisher.send(answers.record(topic, b"%d" % number))
        await until(lambda: asked > 3)
        assert publisher.backlog == 100
        assert values_of(servers, topic) == []
        is_open = True
        publisher.wake()
        await flushed(publisher)
    assert values_of(servers, topic) == list(answers.offsets())


async def test_what_nobody_wants_any_more_is_dropped_where_it_waits(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.wanted"
    create_topic(servers, topic)
    answers = Answers()
    is_open, gone = False, set[bytes]()

    def wanted(value: bytes) -> bool:
        return value not in gone

    async with publishing(settings, may_publish=lambda: is_open) as publisher:
        for number in range(100):
            value = b"%d" % number
            publisher.send(answers.record(topic, value, wanted=partial(wanted, value)))
        gone |= {b"%d" % number for number in range(0, 100, 2)}
        is_open = True
        await flushed(publisher)
    for value in gone:
        assert answers.of.pop(value) == [Dropped()]
    assert values_of(servers, topic) == list(answers.offsets())


async def test_what_the_producer_gives_back_is_asked_again(
    mortal: EmbeddedBroker, namespace: str
) -> None:
    settings = Settings(bootstrap_servers=mortal.bootstrap_servers, namespace=namespace)
    topic = f"{namespace}.again"
    create_topic(mortal.bootstrap_servers, topic)
    answers = Answers()
    owned = True
    async with publishing(settings, timeout_s=1) as publisher:
        publisher.send(answers.record(topic, b"first"))
        await flushed(publisher)
        await asyncio.to_thread(mortal.kill)
        publisher.send(answers.record(topic, b"lost", wanted=lambda: owned))
        publisher.send(answers.record(topic, b"kept"))
        await until(lambda: bool(publisher._flows[topic].under_way))
        owned = False
        await until(lambda: answers.of[b"lost"] == [Dropped()])
        await mortal.start_async()
        await flushed(publisher)
    assert values_of(mortal.bootstrap_servers, topic) == [b"first", b"kept"]


async def test_a_partition_that_the_topic_lacks_is_chosen_by_key(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.narrow"
    create_topic(servers, topic, partitions=3)
    answers = Answers()
    keys = [b"%d" % number for number in range(20)]
    async with publishing(settings) as publisher:
        for key in keys:
            publisher.send(answers.record(topic, b"own " + key, key=key, partition=1))
            publisher.send(answers.record(topic, b"beyond " + key, key=key, partition=9))
        await flushed(publisher)
    partition = {record.value: record.place.partition for record in read_records(servers, [topic])}
    assert partition == {b"own " + key: 1 for key in keys} | {
        b"beyond " + key: partition_of(key, 3) for key in keys
    }
    assert answers.offsets().keys() == partition.keys()


@pytest.mark.row("F30")
async def test_partitions_that_are_added_are_followed(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.wider"
    create_topic(servers, topic, partitions=1)
    async with publishing(settings) as publisher:
        seen: set[int] = set()

        def note(answer: Answer) -> None:
            assert isinstance(answer, Written)
            seen.add(answer.partition)

        publisher.send(Record(topic, b"k", b"", note))
        await flushed(publisher)
        admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        admin.create_partitions([NewPartitions(topic, 4)])[topic].result(30)
        async with asyncio.timeout(CAP_S):
            while seen != {0, 1, 2, 3}:
                for number in range(20):
                    publisher.send(Record(topic, b"%d" % number, b"", note))
                await publisher.flush()
                await asyncio.sleep(0.1)


async def test_a_large_record_that_the_broker_refuses_costs_its_neighbours_nothing(
    settings: Settings,
) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.default"
    create_topic(servers, topic, max_message_bytes="1000000")
    answers, refused = Answers(), b"x" * 1_500_000
    async with publishing(settings) as publisher:
        for number in range(100):
            publisher.send(answers.record(topic, b"%d" % number))
            if number == 50:
                publisher.send(answers.record(topic, refused))
        await flushed(publisher)
    assert answers.of.pop(refused) == [TooLarge()]
    assert values_of(servers, topic) == list(answers.offsets())


class Fatal:
    """A producer that has come to its end, which poll() raises."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.purge, self.flush = producer.purge, producer.flush

    def poll(self, _: float) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL, "planted", fatal=True))


async def test_a_producer_that_is_lost_is_replaced_and_nothing_with_it(settings: Settings) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.fatal"
    create_topic(servers, topic, partitions=3)
    answers = Answers()
    async with publishing(settings) as publisher:
        for part in range(4):
            for number in range(5000):
                publisher.send(answers.record(topic, b"%d %d" % (part, number)))
            await until(partial(answers.more_than, answers.count))
            before = publisher._client
            assert before
            before._producer = Fatal(before._producer)
            await until(lambda before=before: publisher._client not in (before, None))  # type: ignore[misc]
        await flushed(publisher)
        assert publisher.connected
    assert set(values_of(servers, topic)) == set(answers.offsets())


async def test_no_broker_is_told_at_the_start(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producing, "START_S", 1.0)
    publisher = Publisher(Settings(bootstrap_servers="127.0.0.1:1", namespace=namespace))
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        await publisher.start()
    await publisher.stop()


PROGRAM = """
import asyncio, sys
from modelmora.kafka.writing.publisher import Publisher, Record
from modelmora.settings import Settings

async def main(servers, topic, stop):
    publisher = Publisher(Settings(bootstrap_servers=servers))
    await publisher.start()
    for number in range(5000):
        publisher.send(Record(topic, b"k", b"v" * 300, lambda _: None))
    await asyncio.sleep(0)
    if stop == "stop":
        await publisher.stop()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("end", ["stop", "leave"])
def test_a_process_ends_cleanly_with_records_under_way(
    settings: Settings, tmp_path: Path, end: str
) -> None:
    servers, topic = str(settings.bootstrap_servers), f"{settings.namespace}.end"
    create_topic(servers, topic)
    command = [sys.executable, "-c", PROGRAM, servers, topic, end]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, check=False, timeout=CAP_S, cwd=tmp_path, env=environment, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
