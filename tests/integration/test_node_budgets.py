"""Who writes to the topics has budgets too: put off, answered in the end, and never over them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition

from modelmora.access.budgets import SHARE
from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from modelmora.messages.headers import PRINCIPAL
from tests.checker import Delivery, gather, judge
from tests.checker.reading import read_records
from tests.foreign import Draft, draft
from tests.hasty import HastyNode
from tests.nodes import NodeProcess, Observer
from tests.programs import eventually

MODELS = json.dumps([{"name": "echo", "task": "echo", "source": "builtin:echo"}])


class Shore:
    """A namespace whose principals have a budget each."""

    def __init__(self, broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
        self.servers, self.namespace, self.folder = broker.bootstrap_servers, namespace, folder
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})

    def node(
        self,
        name: str,
        rate: Mapping[str, object],
        kind: type[NodeProcess] = HastyNode,
        **settings: object,
    ) -> NodeProcess:
        """A node whose principals have this budget of requests each."""
        folder = self.folder / name
        folder.mkdir()
        budgets = json.dumps({"each": {"requests": rate}})
        own = {"MODELS": MODELS, "ACCESS__BUDGETS": budgets, **settings}
        return kind(self.servers, self.namespace, folder, name, own)

    def send(self, count: int, principal: str) -> list[str]:
        """So many requests, over all partitions; their ids."""
        drafts = [draft("echo", [f"{principal} {number}"]) for number in range(count)]
        headers = [(PRINCIPAL, principal.encode())]
        for each in drafts:
            topic = f"{self.namespace}.requests.normal"
            self._producer.produce(topic, each.value, headers=headers)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0
        return [each.request_id for each in drafts]

    @contextmanager
    def watched(self) -> Iterator[Observer]:
        with closing(Observer(self.servers, self.namespace)) as found:
            yield found

    def put_off(self) -> int:
        tiers = ("retry.30s", "retry.5m")
        return len([*read_records(self.servers, [f"{self.namespace}.{each}" for each in tiers])])

    def judged(self) -> dict[str, int]:
        """The counts of a verdict that finds nothing."""
        group, delivery = f"{self.namespace}.nodes", Delivery.AT_LEAST_ONCE
        found = judge(gather(self.servers, group, self.namespace, (), delivery=delivery))
        assert found.violations == ()
        return found.counts


@pytest.fixture
def shore(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Shore:
    return Shore(broker, namespace, tmp_path)


def test_who_is_over_their_budget_is_answered_later_and_others_at_once(shore: Shore) -> None:
    with shore.node("n1", {"amount": 60, "burst": 3}) as node, shore.watched() as seen:
        greedy = shore.send(14, "greedy")
        eventually(lambda: shore.put_off() >= 2, "what is over its budget")
        modest = seen.answers(shore.send(3, "modest"))
        assert {each.status for each in modest} == {Status.COMPLETED}
        assert len(seen.results) < 3 + 14, "it would have waited for these"
        answers = seen.answers(greedy)
        assert {each.status for each in answers} == {Status.COMPLETED}
        assert {each.attempt for each in answers} == {1}
        assert node.stop() == 0
    assert shore.judged()["repeated"] == 0


@pytest.mark.faults
def test_a_node_that_is_killed_gains_nobody_more(shore: Shore) -> None:
    amount, burst, count = 600, 100, 600
    told = {"amount": amount, "burst": burst}
    with shore.node("n1", told) as one, shore.node("n2", told) as two, shore.watched() as seen:
        seen.answers(shore.send(2, "other"))
        began = time.monotonic()
        ids = shore.send(count, "greedy")

        def passed() -> int:
            seen.catch_up()
            return len(seen.results.keys() & set(ids))

        def most() -> float:
            return burst + (time.monotonic() - began) * amount / 60 + SHARE * amount

        for wanted in (burst, 2 * burst, 3 * burst):
            eventually(lambda wanted=wanted: passed() >= wanted, "some more", 120)  # type: ignore[misc]
            one.kill()
            assert passed() <= most()
            one.start().wait_ready()
        eventually(lambda: passed() == count, "every outcome", 300)
        assert count <= most()
        assert {seen.results[each][0].status for each in ids} == {Status.COMPLETED}
        assert one.stop() == two.stop() == 0


SLEEP = json.dumps([{"name": "sleep", "task": "sleep", "source": "builtin:sleep"}])
MODEST = tuple(f"modest-{number}" for number in range(9))
PAUSE_S, SERVED_MS, PHASE_S, FLOOD, TURNS = 0.3, 10.0, 8.0, 80, 2


class Callers:
    """Nine who ask again a while after each answer, and one who does not wait for any."""

    def __init__(self, shore: Shore) -> None:
        self._topic = f"{shore.namespace}.requests.normal"
        kafka = {"bootstrap.servers": shore.servers, "log_level": 0}
        self._producer = Producer(kafka | {"linger.ms": 1})
        self._consumer = Consumer(kafka | {"group.id": "callers", "fetch.wait.max.ms": 10})
        results = f"{shore.namespace}.results"
        known = self._consumer.list_topics(timeout=30).topics[results].partitions
        self._consumer.assign([TopicPartition(results, each, OFFSET_END) for each in known])
        self._consumer.poll(1)

    def answered(self, seconds: float, *, flood: int) -> int:
        """How many answers the nine get in that time."""
        open_: dict[bytes, str] = {}
        ready = {name: time.monotonic() + PAUSE_S * at / 9 for at, name in enumerate(MODEST)}
        many = [self._drafted("greedy") for _ in range(int(flood * seconds))]
        began, sent, count = time.monotonic(), 0, 0
        while (now := time.monotonic()) < began + seconds:
            for name in [each for each, at in ready.items() if at <= now]:
                del ready[name]
                open_[self._send(*self._drafted(name))] = name
            while sent < flood * (now - began):
                self._send(*many[sent])
                sent += 1
            for message in self._consumer.consume(100, 0.002):
                if name := open_.pop(message.key(), ""):
                    count += 1
                    ready[name] = time.monotonic() + PAUSE_S
        return count

    def _drafted(self, principal: str) -> tuple[Draft, list[tuple[str, bytes]]]:
        one = draft("sleep", [principal], {"ms": SERVED_MS})
        return one, [(PRINCIPAL, principal.encode())]

    def _send(self, one: Draft, headers: list[tuple[str, bytes]]) -> bytes:
        self._producer.produce(self._topic, one.value, one.key, headers=headers)
        self._producer.poll(0)
        return one.request_id.encode()


@pytest.mark.faults
def test_nine_who_are_modest_keep_what_they_get_alone(shore: Shore) -> None:
    rate = {"amount": 8, "per": "second"}
    with shore.node("n1", rate, NodeProcess, MODELS=SLEEP, LIMITS__GROUP_REQUESTS=1) as node:
        callers = Callers(shore)
        callers.answered(5.0, flood=0)  # the model is loaded
        # In this order what changes evenly meanwhile, such as the machine's load, weighs on both.
        order = (0, FLOOD, FLOOD, 0) * TURNS
        turns = [callers.answered(PHASE_S, flood=each) for each in order]
        beside = sum(got for got, flood in zip(turns, order, strict=True) if flood)
        alone = sum(turns) - beside
        print(f"{turns} answers, {beside / alone:.3f} of what they get alone")
        assert beside >= 0.95 * alone
        assert shore.put_off() > FLOOD
        assert node.stop() == 0
