"""What failed for the moment is tried again later, whoever is killed, frozen or gone meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from modelmora.broker import EmbeddedBroker
from modelmora.errors import Code
from modelmora.messages import InferenceResult, Status
from tests.checker import Delivery, gather, judge, read_ids
from tests.checker.reading import Record, read_records
from tests.foreign import Draft, Foreign, draft
from tests.hasty import LATER_MS, HastyNode
from tests.nodes import SESSION_S, Observer, frozen
from tests.programs import eventually

SOON, LATER = "retry.30s", "retry.5m"


class Yard:
    """A namespace with a model that cannot be loaded while `mood` exists."""

    def __init__(self, broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
        self.servers, self.namespace, self.folder = broker.bootstrap_servers, namespace, folder
        self.group = f"{namespace}.nodes"
        self.ids = folder / "ids.jsonl"
        self.mood = folder / "mood"
        self.mood.touch()
        self.models = [
            {"name": "echo", "task": "echo", "source": "builtin:echo"},
            {"name": "sleep", "task": "sleep", "source": "builtin:sleep"},
            {
                "name": "moody",
                "task": "echo",
                "source": "builtin:echo",
                "engine": "tests.integration.worker_helpers:Moody",
                "options": {"while": str(self.mood)},
            },
            {
                "name": "never",
                "task": "echo",
                "source": "builtin:echo",
                "engine": "tests.integration.worker_helpers:Moody",
                "options": {"while": "/"},
            },
        ]

    def node(self, name: str = "n1", **settings: object) -> HastyNode:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        own = {"MODELS": json.dumps(self.models), **settings}
        return HastyNode(self.servers, self.namespace, folder, name, own)

    def send(self, count: int, model: str = "moody") -> list[str]:
        """As many requests over all partitions; their ids."""
        drafts = [draft(model, [f"input {number}"]) for number in range(count)]
        with Foreign(self.servers, self.ids, self.namespace) as foreign:
            for each in drafts:
                foreign.send("normal", each)
            foreign.flush()
        return [each.request_id for each in drafts]

    def put_off(self, *tiers: str) -> list[Record]:
        """What lies there."""
        return list(read_records(self.servers, [f"{self.namespace}.{tier}" for tier in tiers]))

    def judged(self, delivery: Delivery = Delivery.AT_LEAST_ONCE) -> dict[str, int]:
        """The counts of a verdict that finds nothing."""
        expected = read_ids(self.ids) if self.ids.exists() else ()
        found = judge(gather(self.servers, self.group, self.namespace, expected, delivery=delivery))
        assert found.violations == ()
        return found.counts


@pytest.fixture
def yard(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Yard:
    return Yard(broker, namespace, tmp_path)


@contextmanager
def watched(yard: Yard) -> Iterator[Observer]:
    with closing(Observer(yard.servers, yard.namespace)) as seen:
        yield seen


def codes(answers: Sequence[InferenceResult]) -> set[Code | None]:
    return {each.error.code if each.error else None for each in answers}


def test_what_cannot_be_loaded_for_the_moment_is_tried_again(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And holds up no other meanwhile; after the last try it has failed, with a dead letter."""
    lane = f"{yard.namespace}.requests.normal"
    with yard.node() as node, watched(yard) as seen:
        spent = yard.send(3, "never")
        assert codes(seen.answers(yard.send(8, "echo"))) == {None}
        failed = seen.answers(spent)
        assert len(yard.put_off(SOON, LATER)) == 3 + 3
        assert codes(failed) == {Code.RETRIES_SPENT}
        assert {each.attempt for each in failed} == {3}
        assert "failed in each of 3 tries; the last: " in str(failed[0].error)
        seen.until(lambda: len(seen.letters) == 3, "a dead letter of each")
        letters = [each for found in seen.letters.values() for each in found]
        assert [each.source.topic for each in letters] == [lane] * 3
        assert node.stop() == 0
    # So that the last try comes behind the mend, however slow this machine is.
    monkeypatch.setenv(LATER_MS, "20000")
    with yard.node("n2") as node, watched(yard) as seen:
        mended = yard.send(4)
        eventually(lambda: len(yard.put_off(SOON)) == 3 + 4, "what was put off")
        yard.mood.unlink()
        answers = seen.answers(mended)
        assert {each.status for each in answers} == {Status.COMPLETED}
        assert {each.attempt for each in answers} <= {2, 3}
        assert {each.source.topic for each in answers} == {lane}
        assert len(seen.letters) <= 3
        assert node.stop() == 0


@pytest.mark.faults
@pytest.mark.parametrize("delivery", [Delivery.AT_LEAST_ONCE, Delivery.EXACTLY_ONCE])
def test_a_kill_between_putting_off_and_the_commit_gives_one_outcome(
    yard: Yard, delivery: Delivery
) -> None:
    settings: dict[str, object] = {"DELIVERY": delivery.value, "TIMING__COMMIT_INTERVAL_S": 1.0}
    with yard.node("n1", **settings) as node, watched(yard) as seen:
        ids = yard.send(10)
        for _ in range(2):
            eventually(lambda: yard.put_off(SOON), "something that was put off")
            node.kill()
            node.start().wait_ready()
        yard.mood.unlink()
        assert codes(seen.answers(ids)) <= {None, Code.RETRIES_SPENT, Code.MODEL_UNAVAILABLE}
        assert codes(seen.answers(yard.send(5))) == {None}
        assert node.stop() == 0
    assert yard.judged(delivery)["repeated"] == 0


def test_a_long_line_does_not_hold_up_others_on_its_partition(yard: Yard) -> None:
    producer = Producer({"bootstrap.servers": yard.servers, "log_level": 0})

    def send(*drafts: Draft) -> list[str]:
        for each in drafts:
            producer.produce(f"{yard.namespace}.requests.normal", each.value, each.key, 0)
        assert producer.flush(60) == 0
        return [each.request_id for each in drafts]

    settings: dict[str, object] = {"LIMITS__PARTITION_REQUESTS": 12, "LIMITS__GROUP_REQUESTS": 1}
    with yard.node("n1", **settings) as node, watched(yard) as seen:
        seen.answers(send(draft("sleep", ["first"], {"ms": 700.0}), draft("echo", ["first"])))
        line = send(*(draft("sleep", [f"{number}"], {"ms": 700.0}) for number in range(16)))
        (other,) = send(draft("echo", ["behind"]))
        seen.answers([other])
        assert len(seen.results.keys() & set(line)) < 8, "it would have waited for these"
        assert codes(seen.answers(line)) == {None}
        assert yard.put_off(SOON, LATER)
        assert {each.attempt for each in seen.answers(line)} == {1}
        assert node.stop() == 0
    assert yard.judged()["repeated"] == 0


@pytest.mark.faults
def test_who_was_frozen_tries_nothing_that_another_has_tried(yard: Yard) -> None:
    with yard.node() as one, yard.node("n2") as two, watched(yard) as seen:
        ids = yard.send(10)
        eventually(lambda: yard.put_off(SOON), "something that was put off")
        with frozen(one.process.pid):
            until = time.monotonic() + SESSION_S + 4
            eventually(lambda: time.monotonic() > until, "a long freeze", 60)
            yard.mood.unlink()
        assert len(seen.answers(ids)) == 10
        assert one.stop() == two.stop() == 0
    assert yard.judged()["contradicting"] == 0


@pytest.mark.faults
def test_where_the_topic_is_gone_it_ends_with_its_failure(yard: Yard) -> None:
    with yard.node() as node, watched(yard) as seen:
        assert codes(seen.answers(yard.send(4, "echo"))) == {None}
        admin = AdminClient({"bootstrap.servers": yard.servers, "log_level": 0})
        gone = [f"{yard.namespace}.{tier}" for tier in (SOON, LATER)]
        for future in admin.delete_topics(gone).values():
            future.result(30)
        assert codes(seen.answers(yard.send(4))) == {Code.MODEL_UNAVAILABLE}
        assert codes(seen.answers(yard.send(4, "echo"))) == {None}
        assert node.stop() == 0
