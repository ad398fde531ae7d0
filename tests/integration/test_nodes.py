"""Nodes that stop, are killed, come back, share the work, and have more waiting than they hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from modelmora.broker import EmbeddedBroker
from tests.checker import Sampler, Verdict, gather, judge, read_ids
from tests.checker.reading import Cluster
from tests.foreign import LANES, Broken, Draft, Foreign, draft
from tests.nodes import NodeProcess, Observer
from tests.programs import eventually

CAP_S = 120.0


class Yard:
    """A namespace of its own, what was sent to it, and the verdict over it."""

    def __init__(self, broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
        self.servers = broker.bootstrap_servers
        self.namespace = namespace
        self.group = f"{namespace}.nodes"
        self.folder = folder
        self.ids = folder / "ids.jsonl"

    def node(self, name: str = "n1", **settings: object) -> NodeProcess:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return NodeProcess(self.servers, self.namespace, folder, name, settings)

    def send(self, drafts: Iterable[Draft], lanes: Sequence[str] = LANES) -> list[Draft]:
        sent = list(drafts)
        with Foreign(self.servers, self.ids, self.namespace) as foreign:
            for number, each in enumerate(sent):
                foreign.send(lanes[number % len(lanes)], each)
            foreign.flush()
        return sent

    def send_to(self, lane: str, drafts: Iterable[Draft]) -> list[Draft]:
        sent = list(drafts)
        with Foreign(self.servers, self.ids, self.namespace) as foreign:
            for each in sent:
                foreign.send(lane, each)
            foreign.flush()
        return sent

    def all_committed(self) -> bool:
        with closing(Cluster(self.servers, self.group)) as cluster:
            return cluster.all_committed(self.namespace)

    def answered(self) -> None:
        """Wait until every request has its outcome, and the commits say so."""
        eventually(self.all_committed, "every request committed", CAP_S)

    def verdict(self, sampler: Sampler | None = None, repeats: int = 0) -> Verdict:
        samples = sampler.samples if sampler else ()
        expected = read_ids(self.ids)
        verdict = judge(gather(self.servers, self.group, self.namespace, expected, samples=samples))
        assert verdict.counts["repeated"] <= repeats
        return verdict

    def members(self) -> dict[str, set[tuple[str, int]]]:
        """Which lane partitions each node owns, by its name; empty while that changes."""
        client = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        group = client.describe_consumer_groups([self.group])[self.group].result(30)
        if group.state.name != "STABLE":
            return {}
        return {
            member.client_id: {
                (tp.topic, tp.partition)
                for tp in member.assignment.topic_partitions
                if ".requests." in tp.topic
            }
            for member in group.members
        }


@pytest.fixture
def yard(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Yard:
    return Yard(broker, namespace, tmp_path)


def mixture(count: int, *, ms: float = 2.0) -> list[Draft]:
    return [
        draft("sleep", [f"input {n}"], {"ms": ms}) if n % 2 else draft("echo", [f"input {n}"])
        for n in range(count)
    ]


@pytest.mark.row("F18")
def test_broken_requests_among_others_and_a_clean_restart(yard: Yard) -> None:
    kinds = list(Broken)
    drafts = mixture(200)
    for number in range(0, 200, 10):
        drafts[number] = draft("echo", [f"input {number}"], broken=kinds[number // 10 % len(kinds)])
    with yard.node() as node, Sampler(yard.servers, yard.group, yard.namespace) as sampler:
        sent = yard.send(drafts)
        yard.answered()
        with closing(Observer(yard.servers, yard.namespace)) as seen:
            answers = seen.answers(each.request_id for each in sent if each.request_id)
            expected = [each.code for each in sent if each.request_id]
            assert [answer.error and answer.error.code.value for answer in answers] == expected
            buried = sorted((each.code, each.value or b"") for each in sent if each.code)

            def told() -> list[tuple[str, bytes]]:
                letters = (letter for found in seen.letters.values() for letter in found)
                return sorted((letter.code, letter.value or b"") for letter in letters)

            seen.until(lambda: len(told()) >= len(buried), "the dead letters")
            assert told() == buried
        assert node.stop() == 0
        node.start().wait_ready()
        assert node.stop() == 0
    verdict = yard.verdict(sampler)
    assert verdict.violations == ()


@pytest.mark.row("F14")
def test_more_waits_than_a_partition_may_hold(yard: Yard) -> None:
    with yard.node(LIMITS__PARTITION_REQUESTS=20, LIMITS__GROUP_REQUESTS=4) as node:
        yard.send(draft("sleep", [f"first {n}"], {"ms": 3.0}) for n in range(300))

        def is_gated() -> bool:
            lines = node.text("/metrics").splitlines()
            return any(
                float(line.split()[1]) > 0
                for line in lines
                if line.startswith("modelmora_gated_partitions ")
            )

        eventually(is_gated, "a gate that closes", CAP_S)
        yard.send(draft("sleep", [f"second {n}"], {"ms": 3.0}) for n in range(300))
        yard.answered()
        eventually(lambda: not is_gated(), "gates that open", CAP_S)
    verdict = yard.verdict()
    assert verdict.violations == ()
    assert verdict.counts["status.COMPLETED"] == 600


@pytest.mark.faults
@pytest.mark.parametrize("stops", [(50,), (10, 100)], ids=["one", "two"])
def test_a_stop_in_the_midst_of_work_repeats_nothing(yard: Yard, stops: tuple[int, ...]) -> None:
    with yard.node(LIMITS__GROUP_REQUESTS=8) as node:
        sampler = Sampler(yard.servers, yard.group, yard.namespace)
        with sampler, closing(Observer(yard.servers, yard.namespace)) as seen:
            yard.send(draft("sleep", [f"{n}"], {"ms": 15.0}) for n in range(400))
            for count in stops:
                seen.until(lambda count=count: len(seen.results) >= count, "some outcomes")  # type: ignore[misc]
                assert node.stop() == 0
                node.start().wait_ready()
            yard.answered()
        assert node.stop() == 0
    verdict = yard.verdict(sampler)
    assert verdict.violations == ()
    assert verdict.counts["outcomes"] == 400


def test_a_stop_while_a_child_hangs_blames_nobody(yard: Yard) -> None:
    """No other node has the model, so its request is told that it was stopped."""
    marker = {"marker": "poison"}
    with (
        yard.node(TIMING__DRAIN_S=1) as node,
        closing(Observer(yard.servers, yard.namespace)) as seen,
    ):
        (hung,) = yard.send([draft("hang", ["poison"], marker)])
        eventually(lambda: node.models()["hang"]["running"], "a request that hangs", CAP_S)
        assert node.stop() == 0
        (answer,) = seen.answers([hung.request_id])
        assert answer.error is not None
        assert answer.error.code.value == "stopped"
        yard.answered()
    assert yard.verdict().violations == ()


@pytest.mark.faults
def test_a_stop_before_it_is_ready(yard: Yard) -> None:
    with yard.node() as node:
        assert node.stop() == 0
        node.start()
        eventually(lambda: "node_joined" in node.log_since_start(), "the start", CAP_S)
        assert node.stop() == 0
        yard.send(mixture(4))
        node.start().wait_ready()
        yard.answered()
    assert yard.verdict().violations == ()


@pytest.mark.faults
def test_a_stop_without_a_broker(mortal: EmbeddedBroker, namespace: str, tmp_path: Path) -> None:
    """It ends by itself, within its deadline; what it could not tell is told by the next node."""
    yard = Yard(mortal, namespace, tmp_path)
    with yard.node(LIMITS__GROUP_REQUESTS=8, TIMING__DRAIN_S=2) as node:
        yard.send(draft("sleep", [f"{n}"], {"ms": 10.0}) for n in range(200))
        eventually(lambda: node.models()["sleep"]["running"], "work under way", CAP_S)
        mortal.kill()
        assert node.stop() == 0, node.tail()
        mortal.start()
        node.start().wait_ready()
        yard.answered()
    assert yard.verdict(repeats=100).violations == ()


@pytest.mark.faults
def test_two_nodes_share_stop_die_and_come_back(yard: Yard) -> None:
    """Nothing is lost at a join, a stop and a kill; who comes back has a half of the partitions.

    Which half is not told: members are dynamic, and one that was killed comes back as another.
    """
    first, second = yard.node("n1"), yard.node("n2")
    sampler = Sampler(yard.servers, yard.group, yard.namespace)
    with first:
        yard.send(mixture(100, ms=10.0))
        with sampler, second:
            eventually(lambda: _halves(yard.members()), "two members", CAP_S)
            yard.send(mixture(100, ms=10.0))
            assert first.stop() == 0
            yard.send(mixture(100))
            first.start().wait_ready()
            second.kill()
            yard.send(mixture(100))
            second.start().wait_ready()
            eventually(lambda: _halves(yard.members()), "both again", CAP_S)
            yard.answered()
            second.kill()
            yard.send(mixture(100))
            yard.answered()
            assert first.stop() == 0
    # Started work, and outcomes newer than a commit, of the kill that may have met work.
    verdict = yard.verdict(sampler, repeats=100)
    assert verdict.violations == (), json.dumps(verdict.counts)
    assert verdict.counts["requests"] == 500


def _halves(members: dict[str, set[tuple[str, int]]]) -> bool:
    """Whether two members own as much each."""
    sizes = {len(owned) for owned in members.values()}
    return len(members) == 2 and len(sizes) == 1 and sizes != {0}
