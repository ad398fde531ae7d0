"""The committed sums: Kafka 4.1, each jar once, well-formed."""

from __future__ import annotations

import re

from modelmora.broker.jars import pinned_jars


def test_the_committed_sums_are_whole() -> None:
    every, brokers = pinned_jars(tools=True), pinned_jars()
    assert set(brokers) < set(every)
    names = [jar.path.name for jar in every]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in every)
    for jar in every:
        _, artifact, version = jar.coordinates
        assert jar.path.name == f"{artifact}-{version}.jar"
    assert any(re.fullmatch(r"kafka_2\.13-4\.1\.\d+\.jar", jar.path.name) for jar in brokers)
    assert any(name.startswith("kafka-tools-4.1.") for name in names)
