"""Whether records wait, where the broker says where they end and gives none."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from confluent_kafka import TopicPartition

from modelmora.errors import Unreachable
from modelmora.kafka.batches import Partition
from modelmora.kafka.reading import standing
from modelmora.kafka.reading.standing import Standing
from modelmora.settings import Settings

LANE: Partition = ("lane", 0)


class Silent:
    """A consumer that gets nothing and gets nowhere."""

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self.assigned = list(partitions)

    def unassign(self) -> None:
        self.assigned = []

    def consume(self, number: int, timeout: float) -> list[object]:
        return []

    def position(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        return list(self.assigned)


def test_silence_is_no_proof_that_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Standing(Settings(bootstrap_servers="nowhere:1"))
    monkeypatch.setattr(standing, "ANSWER_S", 0.1)
    monkeypatch.setattr(asked, "bounds", lambda since, committed: {LANE: (0, 8)})
    monkeypatch.setattr(asked, "_consumer", Silent(), raising=False)
    with pytest.raises(Unreachable):
        asked.waiting({LANE: 5})
    assert not asked.waiting({LANE: 8})
