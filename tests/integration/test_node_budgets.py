"""Who writes to the topics has budgets too: put off, answered in the end, and never over them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from modelmora.access.budgets import SHARE
from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from modelmora.messages.headers import PRINCIPAL
from tests.checker import Delivery, gather, judge
from tests.checker.reading import read_records
from tests.foreign import draft
from tests.hasty import HastyNode
from tests.nodes import Observer
from tests.programs import eventually

MODELS = json.dumps([{"name": "echo", "task": "echo", "source": "builtin:echo"}])


class Shore:
    """A namespace whose principals have a budget each."""

    def __init__(self, broker: EmbeddedBroker, namespace: str, folder: Path) -> None:
        self.servers, self.namespace, self.folder = broker.bootstrap_servers, namespace, folder
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})

    def node(self, name: str, **rate: object) -> HastyNode:
        folder = self.folder / name
        folder.mkdir()
        budgets = json.dumps({"each": {"requests": rate}})
        own = {"MODELS": MODELS, "ACCESS__BUDGETS": budgets}
        return HastyNode(self.servers, self.namespace, folder, name, own)

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
    with shore.node("n1", amount=60, burst=3) as node, shore.watched() as seen:
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
    with shore.node("n1", **told) as one, shore.node("n2", **told) as two, shore.watched() as seen:
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
