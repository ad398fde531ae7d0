"""The checker and the foreign producer on a real broker, with outcomes made by the test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from modelmora.broker import EmbeddedBroker
from modelmora.errors import Code
from modelmora.kafka.admin import Admin
from modelmora.messages import ErrorInfo, InferenceResult, Source, outcome_status
from modelmora.messages import Status as EndedAs
from modelmora.settings import Settings, TopicSettings
from modelmora.wire import encode_result
from tests.checker import Cluster, Delivery, Sampler, gather, judge, read_ids
from tests.checker.reading import request_topics
from tests.foreign import LANES, Broken, Foreign, Sent, draft
from tests.foreign import main as send_mixture
from tests.topics import CAP_S


@dataclass
class World:
    """A namespace with its topics, a foreign producer's work, and a node played by the test."""

    servers: str
    namespace: str
    ids: Path
    sent: list[Sent] = field(default_factory=list)

    @property
    def group(self) -> str:
        return f"{self.namespace}.nodes"

    def send(self, *broken: Broken | None) -> None:
        """One request each over the lanes in turn."""
        with Foreign(self.servers, self.ids, self.namespace) as foreign:
            for number, kind in enumerate(broken):
                foreign.send(LANES[number % 4], draft("echo", [f"text {number}"], broken=kind))
            foreign.flush()
            self.sent += foreign.sent

    def answer(self, one: Sent, code: str | None = None, value: bytes | None = b"same") -> None:
        """Write the outcome that a node would: dead letter, then result."""
        producer = Producer({"bootstrap.servers": self.servers, "message.max.bytes": 2 << 20})
        code = code or one.draft.code
        original = one.draft.value if value == b"same" else value
        if code:
            headers = {
                "__connect.errors.topic": one.topic.encode(),
                "__connect.errors.partition": b"%d" % one.partition,
                "__connect.errors.offset": b"%d" % one.offset,
                "modelmora-error-code": code.encode(),
            }
            topic = f"{self.namespace}.dead-letters"
            producer.produce(topic, original, one.draft.key, headers=list(headers.items()))
        if one.draft.request_id:
            producer.produce(f"{self.namespace}.results", _result(one, code), one.draft.request_id)
        assert producer.flush(30) == 0

    def commit(self, sent: list[Sent]) -> None:
        """Commit behind these records."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": self.group})
        offsets = [TopicPartition(one.topic, one.partition, one.offset + 1) for one in sent]
        consumer.commit(offsets=offsets, asynchronous=False)
        consumer.close()

    def check(self, **options: Any) -> list[str]:
        """The kinds of violation there are now."""
        evidence = gather(self.servers, self.group, self.namespace, read_ids(self.ids), **options)
        return [violation.kind for violation in judge(evidence).violations]

    def by_hand(self, *options: str) -> subprocess.CompletedProcess[str]:
        """The command of the checker."""
        named = {"--bootstrap-servers": self.servers, "--group": self.group,
                 "--ids": str(self.ids), "--namespace": self.namespace}  # fmt: skip
        flags = [part for pair in named.items() for part in pair]
        return subprocess.run(
            [sys.executable, "-m", "tests.checker", *flags, *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=CAP_S,
        )


def _result(one: Sent, code: str | None) -> bytes:
    error = ErrorInfo(Code(code), "planted") if code else None
    return encode_result(
        InferenceResult(
            one.draft.request_id,
            outcome_status(Code(code)) if code else EndedAs.COMPLETED,
            "echo",
            "1",
            Source(one.topic, one.partition, one.offset),
            error=error,
        )
    )


@pytest.fixture
def world(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> World:
    settings = Settings(
        bootstrap_servers=broker.bootstrap_servers,
        namespace=namespace,
        topics=TopicSettings(partitions=2),
    )
    Admin(settings).create()
    return World(broker.bootstrap_servers, namespace, tmp_path / "ids")


def _one_of_each() -> list[Broken | None]:
    return [None, None, *Broken]


def test_answered_requests_of_every_kind_are_clean(world: World) -> None:
    world.send(*_one_of_each())
    assert {one.topic for one in world.sent} == set(request_topics(world.namespace)[: len(LANES)])
    assert world.check() == ["lost"] * len(world.sent)
    for one in world.sent:
        world.answer(one)
    world.commit(world.sent)
    assert world.check(delivery=Delivery.EXACTLY_ONCE) == []
    with closing(Cluster(world.servers, world.group)) as cluster:
        assert len(cluster.sample(world.namespace).committed) == 4
    done = world.by_hand()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"expected {len(world.sent)}" in done.stdout


def test_the_command_tells_each_violation_in_a_line(world: World) -> None:
    world.send(None, Broken.NULL, None)
    good, null, lost = sorted(world.sent, key=lambda one: LANES.index(one.topic.split(".")[-1]))
    world.answer(good)
    world.answer(good)
    world.commit([lost])
    done = world.by_hand("--delivery", "exactly_once")
    assert done.returncode == 1
    *violations, summary = done.stdout.splitlines()
    assert sorted(line.split(":")[0] for line in violations) == [
        "commit", "lost", "lost", "repeated",
    ]  # fmt: skip
    assert lost.draft.request_id in done.stdout
    assert f"{null.topic}[{null.partition}]@{null.offset}" in done.stdout
    assert "violations 4" in summary
    told = json.loads(world.by_hand("--json").stdout)
    assert told["counts"]["violations"] == len(told["violations"]) == 3


@pytest.mark.parametrize(
    ("broken", "code", "value", "kind"),
    [
        (None, "busy", b"same", "contradicting"),
        (Broken.TRAILING_BYTES, None, b"other", "altered"),
        (Broken.EMPTY, None, None, "altered"),
        (Broken.NULL, None, b"", "altered"),
    ],
)
def test_what_a_node_may_not_do_is_seen(
    world: World, broken: Broken | None, code: str | None, value: bytes | None, kind: str
) -> None:
    world.send(broken)
    (one,) = world.sent
    world.answer(one)
    assert world.check() == []
    world.answer(one, code, value)
    # `busy` is given here as a dead letter too, which nobody forbids.
    assert world.check() == [kind]


@contextmanager
def _sampling(world: World) -> Iterator[Sampler]:
    with Sampler(world.servers, world.group, world.namespace, interval_s=0.05) as sampler:
        assert sampler.wait_for(1, CAP_S)
        yield sampler


def test_a_commit_that_was_ahead_for_a_moment_is_seen(world: World) -> None:
    world.send(None)
    with _sampling(world) as sampler:
        world.commit(world.sent)
        assert sampler.wait_for(2, CAP_S)
        world.answer(world.sent[0])
    assert world.check() == []
    assert world.check(samples=sampler.samples) == ["commit"]


def test_commits_behind_outcomes_are_clean_at_any_moment(world: World) -> None:
    with _sampling(world) as sampler:
        for _ in range(10):
            before = len(world.sent)
            world.send(None, Broken.WRONG_FINGERPRINT)
            for one in world.sent[before:]:
                world.answer(one)
            world.commit(world.sent[before:])
    assert len(sampler.samples) > 1
    assert world.check(samples=sampler.samples) == []


@pytest.mark.faults
def test_the_sampler_goes_on_when_the_broker_is_gone(
    mortal: EmbeddedBroker, namespace: str
) -> None:
    servers = mortal.bootstrap_servers
    with Sampler(servers, "g", namespace, interval_s=0.05) as sampler:
        assert sampler.wait_for(1, CAP_S)
        mortal.kill()
        mortal.start()
        settings = Settings(
            bootstrap_servers=servers, namespace=namespace, topics=TopicSettings(partitions=1)
        )
        Admin(settings).create()
        assert sampler.wait_for(2, CAP_S)


def test_the_foreign_producer_works_by_hand(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    send_mixture(
        ["--bootstrap-servers", world.servers, "--namespace", world.namespace,
         "--ids", str(world.ids), "--count", "40", "--broken-every", "4"]
    )  # fmt: skip
    assert capsys.readouterr().out == "40 acknowledged\n"
    expected = read_ids(world.ids)
    assert len(expected) == 40
    assert len({line.request_id for line in expected if line.request_id}) == 36
    evidence = gather(world.servers, world.group, world.namespace, expected)
    on_topics = {(request.request_id, request.sha256) for request in evidence.requests}
    assert on_topics == {(line.request_id, line.sha256) for line in expected}
