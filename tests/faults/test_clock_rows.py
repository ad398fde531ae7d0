"""Clocks that are wrong and jump, of nodes and of those who ask."""

from __future__ import annotations

import secrets
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from tests.faults.recording import Figures
from tests.faults.stage import Stage, pile
from tests.foreign import LANES, draft
from tests.nodes import Observer
from tests.skewed import SkewedNode

HOUR_S = 3600.0


def id_of(at_s: float) -> str:
    """A UUIDv7 of this time."""
    head = int(at_s * 1000) << 80 | 7 << 76 | secrets.randbits(12) << 64
    return str(uuid.UUID(int=head | 2 << 62 | secrets.randbits(62)))


@pytest.mark.faults
@pytest.mark.row("F15")
@pytest.mark.timeout(900)
def test_nobody_who_lies_about_the_time_ends_or_keeps_a_request(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    """An hour fast, an hour slow, then the other way round; ids and records of other hours too."""
    stage = Stage(broker, namespace, tmp_path)
    nodes = [
        SkewedNode(stage.servers, namespace, tmp_path, name, off_s)
        for name, off_s in (("fast", HOUR_S), ("slow", -HOUR_S))
    ]
    with nodes[0], nodes[1], closing(Observer(stage.servers, namespace)) as seen:
        for _ in range(2):
            sent = stage.send(pile(100))
            lying = [
                draft("echo", ["x"], request_id=id_of(time.time() + off_s), timeout_ms=60_000)
                for off_s in (-24 * HOUR_S, -HOUR_S, HOUR_S, 24 * HOUR_S) * 4
            ]
            stage.send(lying)
            ids = [each.request_id for each in (*sent, *lying)] + timed(stage)
            assert {each.status for each in seen.answers(ids)} == {Status.COMPLETED}
            late = stage.send(
                draft("sleep", ["x"], {"ms": 400.0}, timeout_ms=500) for _ in range(60)
            )
            ends = {each.status for each in seen.answers(each.request_id for each in late)}
            assert Status.EXPIRED in ends
            assert ends <= {Status.EXPIRED, Status.COMPLETED}
            for node in nodes:
                stage.struck("clock jumped")
                node.jump()
        stage.answered()
        assert [node.stop() for node in nodes] == [0, 0]
    stage.conclude(figures)


def timed(stage: Stage) -> list[str]:
    """Records that say that they were written at another hour; their ids."""
    producer = Producer({"bootstrap.servers": stage.servers, "log_level": 0})
    made = []
    for off_s in (-HOUR_S, HOUR_S):
        for lane in LANES:
            one = draft("echo", ["x"], timeout_ms=60_000)
            at_ms = int((time.time() + off_s) * 1000)
            topic = f"{stage.namespace}.requests.{lane}"
            producer.produce(topic, one.value, one.key, timestamp=at_ms)
            made.append(one.request_id)
    assert producer.flush(60) == 0
    return made
