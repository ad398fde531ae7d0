"""Partitions that change hands: nothing is lost, no outcome contradicts an earlier one."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from modelmora.broker import EmbeddedBroker
from modelmora.messages import EventKind, Status
from tests.checker.reading import read_records
from tests.faults.recording import Figures
from tests.foreign import Draft, draft
from tests.integration.test_nodes import CAP_S, Yard
from tests.nodes import NodeProcess, Observer
from tests.programs import eventually
from tests.topics import create_topic, delete_topic


@pytest.fixture
def yard(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Yard:
    return Yard(broker, namespace, tmp_path)


def spread(number: int, model: str, *arguments: Any, **fields: Any) -> Draft:
    """A request whose key is its number, so that many of them lie on all partitions."""
    return replace(draft(model, *arguments, **fields), key=b"%d" % number)


def expired(sent_at: float, timeout_s: float) -> None:
    """Let the time pass that requests may take; nothing else tells of it."""
    until = sent_at + timeout_s
    eventually(lambda: time.monotonic() > until, "the deadlines passed", CAP_S)


def owned(yard: Yard, node: NodeProcess) -> int:
    """How many partitions the node owns, as the group says."""
    return len(yard.members().get(node.log.stem, ()))


@pytest.mark.row("F28")
@pytest.mark.faults
def test_a_node_that_was_frozen_contradicts_nobody(yard: Yard, figures: Figures) -> None:
    """It wakes when all its requests are long expired, and another node has answered them."""
    with yard.node("n1", LIMITS__GROUP_REQUESTS=4) as frozen, yard.node("n2") as other:
        eventually(lambda: owned(yard, frozen) and owned(yard, other), "both own some", CAP_S)
        with closing(Observer(yard.servers, yard.namespace)) as seen:
            sent = yard.send(
                spread(n, "sleep", [f"{n}"], {"ms": 20.0}, timeout_ms=18_000) for n in range(200)
            )
            sent_at = time.monotonic()
            seen.until(lambda: len(seen.results) >= 10, "some outcomes")
            frozen.process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            try:
                ids = {each.request_id for each in sent}
                seen.until(lambda: seen.results.keys() >= ids, "every outcome, by the other node")
                figures.recovered(time.monotonic() - stopped)
                eventually(lambda: not owned(yard, frozen), "all partitions the other's", CAP_S)
                expired(sent_at, 20)
            finally:
                frozen.process.send_signal(signal.SIGCONT)
            eventually(lambda: owned(yard, frozen) > 0, "the frozen node a member again", CAP_S)
            yard.answered()
        assert (frozen.stop(), other.stop()) == (0, 0)
    verdict = yard.verdict(repeats=100)
    assert verdict.violations == ()
    assert verdict.counts.get("contradicting", 0) == 0
    figures.judged(verdict, faults=1)


@pytest.mark.faults
def test_what_was_answered_and_not_committed_is_not_answered_again(yard: Yard) -> None:
    """Killed long after its last commit; by then every request has expired."""
    with yard.node(TIMING__COMMIT_INTERVAL_S=3600) as node:
        with closing(Observer(yard.servers, yard.namespace)) as seen:
            sent = yard.send(draft("echo", [f"{n}"], timeout_ms=8_000) for n in range(100))
            sent_at = time.monotonic()
            answers = seen.answers(each.request_id for each in sent)
            assert {each.status for each in answers} == {Status.COMPLETED}
            expired(sent_at, 9)
            node.kill()
            node.start().wait_ready()
            yard.send([draft("echo", ["behind them"])])
            seen.until(lambda: len(seen.results) == 101, "the request behind them")
        node.stop()
    verdict = yard.verdict()
    assert verdict.counts["outcomes"] == 101
    assert verdict.counts["repeated"] == 0


@pytest.mark.row("F31")
def test_two_nodes_with_one_member_id(yard: Yard, tmp_path: Path, figures: Figures) -> None:
    """A copied data folder: the younger ends and says why, the elder goes on."""
    with yard.node("n1") as elder:
        copied = tmp_path / "copy"
        copied.mkdir()
        younger = NodeProcess(yard.servers, yard.namespace, copied, "n1").start()
        try:
            assert younger.wait(CAP_S) == 2
        finally:
            younger.kill()
        assert "another node runs as n1" in younger.log_since_start()
        yard.send(draft("echo", [f"{n}"]) for n in range(40))
        yard.answered()
        assert elder.stop() == 0
    verdict = yard.verdict()
    assert verdict.violations == ()
    figures.judged(verdict, faults=1)


@pytest.mark.row("F29")
def test_a_commit_beyond_the_end_swallows_nothing(yard: Yard, figures: Figures) -> None:
    """As after a power cut: the group has committed what the log does not have any more."""
    with yard.node() as node:
        yard.send(draft("echo", ["before"]) for _ in range(4))
        yard.answered()
        assert node.stop() == 0
    group = Consumer({"bootstrap.servers": yard.servers, "group.id": yard.group, "log_level": 0})
    lanes = [f"{yard.namespace}.requests.{lane}" for lane in ("critical", "high", "normal", "low")]
    ahead = [TopicPartition(lane, number, 1000) for lane in lanes for number in range(4)]
    group.commit(offsets=ahead, asynchronous=False)
    group.close()
    sent = yard.send(spread(n, "echo", [f"{n}"]) for n in range(40))
    with yard.node() as node, closing(Observer(yard.servers, yard.namespace)) as seen:
        answers = seen.answers(each.request_id for each in sent)
        assert {each.status for each in answers} == {Status.COMPLETED}
        told = [e for e in seen.events if e.kind is EventKind.HEALTH_CHANGED]
        assert {event.facts["what"] for event in told} == {"log_cut_back"}
        assert {event.facts["position_offset"] for event in told} == {1000}
        assert "modelmora_odd_commits_total" in node.text("/metrics")
        assert node.stop() == 0
    figures.add(requests=len(sent), faults=len(ahead), lost=0, repeated=0)


@pytest.mark.row("F30")
@pytest.mark.parametrize(
    "protocol", ["consumer", pytest.param("classic", marks=pytest.mark.faults)]
)
def test_a_lane_that_is_made_anew_is_read_again(yard: Yard, protocol: str) -> None:
    """Also where its new log is longer than what was read of the old one.

    Some may be read twice before that is seen: at least once is what is promised here.
    """
    lane = f"{yard.namespace}.requests.high"
    with (
        yard.node(KAFKA__GROUP_PROTOCOL=protocol) as node,
        closing(Observer(yard.servers, yard.namespace)) as seen,
    ):
        before = yard.send(draft("echo", [f"{n}"]) for n in range(40))
        seen.answers(each.request_id for each in before)
        yard.answered()
        delete_topic(yard.servers, lane)
        stamped = {"message_timestamp_type": "LogAppendTime"}
        create_topic(yard.servers, lane, partitions=4, **stamped)
        after = {each.request_id for each in yard.send(draft("echo", ["x"]) for _ in range(200))}
        seen.until(lambda: seen.results.keys() >= after, "every outcome")
        assert {each.status for id_ in after for each in seen.results[id_]} == {Status.COMPLETED}
        assert node.stop() == 0


def test_models_are_told_to_a_registry_that_is_made_anew(yard: Yard) -> None:
    """A gateway that starts later knows them."""
    registry = f"{yard.namespace}.registry"

    def told() -> bool:
        found = read_records(yard.servers, [registry])
        return {b"MODEL:echo@1", b"NODE:n1@"} <= {each.key for each in found if each.value}

    with yard.node() as node:
        eventually(told, "what the node serves", CAP_S)
        delete_topic(yard.servers, registry)
        create_topic(yard.servers, registry, cleanup_policy="compact")
        eventually(told, "the same on the new one", CAP_S)
        assert node.stop() == 0
