"""Replays before real nodes: each is a run of its own, and has one outcome whatever is killed."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.cli import main
from modelmora.messages import Status
from tests.checker import Delivery, gather, judge, read_ids
from tests.foreign import draft
from tests.integration.test_nodes import Yard
from tests.nodes import Observer

COUNT = 120
LATE = json.dumps([{"name": "late", "task": "sleep", "source": "builtin:sleep"}])


@pytest.fixture
def yard(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Yard:
    return Yard(broker, namespace, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("delivery", [Delivery.AT_LEAST_ONCE, Delivery.EXACTLY_ONCE])
def test_a_replay_has_one_outcome_whatever_is_killed(
    yard: Yard, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELMORA_NAMESPACE", yard.namespace)
    drafts = [draft("late", [f"input {n}"], {"ms": 10}) for n in range(COUNT)]
    with yard.node(DELIVERY=delivery) as without:
        yard.send(drafts)
        yard.answered()
        assert without.stop() == 0
    with yard.node(DELIVERY=delivery, MODELS=LATE, LIMITS__GROUP_REQUESTS=8) as node:
        assert main(["dlq", "replay", "--all", "--bootstrap-servers", yard.servers]) == 0
        with closing(Observer(yard.servers, yard.namespace)) as seen:

            def mended() -> int:
                return sum(any(o.run == 2 for o in each) for each in seen.results.values())

            seen.until(lambda: mended() >= COUNT // 4, "some outcomes")
            node.kill()
            node.start().wait_ready()
            seen.until(lambda: mended() == COUNT, "every outcome")
            for outcomes in seen.results.values():
                ends = {outcome.run: outcome.status for outcome in outcomes}
                assert ends == {1: Status.REFUSED, 2: Status.COMPLETED}
                # Where the first one lay, though this producer's partitioner is not ours.
                assert len({outcome.source.partition for outcome in outcomes}) == 1
        assert node.stop() == 0
    expected = read_ids(yard.ids)
    found = gather(yard.servers, yard.group, yard.namespace, expected, delivery=delivery)
    assert judge(found).violations == ()
    assert {request.run for request in found.requests} == {1, 2}
