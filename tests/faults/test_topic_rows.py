"""Topics that are widened, deleted and made anew while requests flow."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from tests.faults.recording import Figures
from tests.faults.stage import Stage, pile
from tests.foreign import LANES, draft
from tests.nodes import PARTITIONS, NodeProcess, Observer
from tests.programs import eventually
from tests.topics import create_topic, delete_topic

pytestmark = pytest.mark.faults
CAP_S = 120.0
WIDER = PARTITIONS + 2
OTHERS = LANES[:3]


def owned(*nodes: NodeProcess) -> int:
    """How many partitions of the lanes they say that they have."""
    return sum((node.get("/health/ready") or {"partitions": 0})["partitions"] for node in nodes)


def idle(node: NodeProcess) -> bool:
    """Whether both models are there and have nothing to do."""
    rows = node.models()
    there = [row for row in rows.values() if row["pid"]]
    return len(there) == 2 and not any(row["running"] + row["waiting"] for row in there)


@pytest.mark.row("F30")
@pytest.mark.timeout(900)
def test_lanes_are_widened_under_two_nodes(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    stage = Stage(broker, namespace, tmp_path)
    lanes = [f"{namespace}.requests.{lane}" for lane in LANES]
    with stage.node("n1") as one, stage.node("n2") as other, stage.sampler() as sampler:
        stage.send(pile(200))
        stage.struck("lanes widened", 4)
        admin = AdminClient({"bootstrap.servers": stage.servers, "log_level": 0})
        for made in admin.create_partitions([NewPartitions(e, WIDER) for e in lanes]).values():
            made.result(30)
        stage.healed()
        stage.send(pile(200))
        eventually(lambda: owned(one, other) == WIDER * len(LANES), "all are read", CAP_S)
        stage.send(pile(200))
        stage.answered()
        assert (one.stop(), other.stop()) == (0, 0)
    stage.conclude(figures, sampler)


@pytest.mark.row("F30")
@pytest.mark.timeout(900)
def test_outcomes_wait_for_their_topic(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    """What is computed while it is gone is neither lost nor passed by a commit."""
    stage = Stage(broker, namespace, tmp_path)
    results = f"{namespace}.results"
    with stage.node() as node:
        delete_topic(stage.servers, results)
        stage.struck("results deleted")
        stage.send(pile(100))
        eventually(lambda: idle(node), "all of them run", CAP_S)
        assert not stage.all_committed()
        create_topic(stage.servers, results, PARTITIONS, message_timestamp_type="LogAppendTime")
        stage.healed()
        stage.send(pile(40))
        stage.answered()
        assert node.stop() == 0
    stage.conclude(figures)


@pytest.mark.row("F30")
@pytest.mark.timeout(900)
def test_a_lane_goes_and_comes_under_load(
    broker: EmbeddedBroker, namespace: str, tmp_path: Path, figures: Figures
) -> None:
    """Requests of other lanes notice nothing; those of the new one are answered."""
    stage = Stage(broker, namespace, tmp_path)
    low = f"{namespace}.requests.low"
    with stage.node() as node, closing(Observer(stage.servers, namespace)) as seen:
        for _ in range(3):
            stage.send(pile(150), OTHERS)
            delete_topic(stage.servers, low)
            stage.struck("lane deleted")
            stage.send(pile(30), OTHERS)
            create_topic(stage.servers, low, PARTITIONS, message_timestamp_type="LogAppendTime")
            stage.healed()
            keyed = (replace(draft("echo", ["x"]), key=b"%d" % n) for n in range(40))
            sent = stage.send(keyed, LANES[3:])
            # Each new topic takes its records with it, so they are judged here. Some may be read
            # twice before it is seen that the topic is another.
            after = {each.request_id for each in sent}
            seen.until(lambda: seen.results.keys() >= after, "every outcome")  # noqa: B023
            ends = {each.status for id_ in after for each in seen.results[id_]}
            assert ends == {Status.COMPLETED}
        stage.answered()
        assert node.stop() == 0
        stage.conclude(figures, lanes=OTHERS)
