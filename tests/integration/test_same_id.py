"""The same id twice before real nodes: one run, whatever is killed and by whichever way it came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from modelmora.broker import EmbeddedBroker
from modelmora.messages import (
    ControlCommand,
    ControlVerb,
    InferenceRequest,
    InferenceResult,
    Status,
)
from modelmora.wire import encode_control, encode_request, new_request_id
from modelmora.wire.ids import id_of_name
from tests.nodes import NodeProcess, Observer

MODELS = json.dumps(
    [
        {"name": "echo", "task": "echo", "source": "builtin:echo"},
        {"name": "slow", "task": "sleep", "source": "builtin:sleep"},
    ]
)


class Street:
    """A node, and who writes to it and reads what comes of it."""

    def __init__(self, servers: str, namespace: str, node: NodeProcess) -> None:
        self.namespace, self.node = namespace, node
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "log_level": 0})
        self.seen = Observer(servers, namespace)

    def ask(
        self, request_id: str, text: str = "x", ms: float = 0.0, principal: str = "", times: int = 1
    ) -> None:
        model, parameters = ("slow", {"ms": ms}) if ms else ("echo", {})
        request = InferenceRequest(request_id, model, (text,), parameters=parameters)
        headers = [("modelmora-principal", principal.encode())] if principal else None
        for _ in range(times):
            topic, value = f"{self.namespace}.requests.normal", encode_request(request)
            self._producer.produce(topic, value, model, headers=headers)
            self._producer.poll(0)
        assert self._producer.flush(30) == 0

    def cancel(self, request_id: str) -> None:
        value = encode_control(ControlCommand(ControlVerb.CANCEL, request_id))
        self._producer.produce(f"{self.namespace}.control", value, request_id)
        assert self._producer.flush(30) == 0

    def outcomes(self, request_id: str, count: int) -> list[InferenceResult]:
        """So many outcomes of an id."""
        found = self.seen.results
        self.seen.until(lambda: len(found.get(request_id, ())) >= count, f"{count} outcomes")
        return found[request_id]


ONCE, AGAIN = "exactly_once", "at_least_once"


@pytest.fixture
def street(
    request: pytest.FixtureRequest, broker: EmbeddedBroker, namespace: str, tmp_path: Path
) -> Iterator[Street]:
    servers = broker.bootstrap_servers
    settings = {"MODELS": MODELS, "DELIVERY": request.param}
    with NodeProcess(servers, namespace, tmp_path, settings=settings) as node:
        street = Street(servers, namespace, node)
        with closing(street.seen):
            yield street


def codes(found: list[InferenceResult]) -> list[str]:
    return [each.error.code.value if each.error else "" for each in found]


@pytest.mark.parametrize(
    "street", [ONCE, pytest.param(AGAIN, marks=pytest.mark.faults)], indirect=True
)
def test_one_id_runs_once_whatever_is_killed(street: Street) -> None:
    same, old = new_request_id(), id_of_name("old", 1_000)
    # At once: all run as one, and each record is told.
    street.ask(same, ms=200, times=200)
    found = street.outcomes(same, 200)
    assert {(each.status, each.run, each.timings) for each in found} == {
        (Status.COMPLETED, 1, found[0].timings)
    }
    assert len({each.source for each in found}) == 200
    # Afterwards, and of an id whose time is long ago: what is stored.
    street.ask(old, "a")
    street.outcomes(old, 1)
    street.ask(same, ms=200)
    street.ask(old, "a")
    assert len({each.timings for each in street.outcomes(same, 201)}) == 1
    assert len({each.timings for each in street.outcomes(old, 2)}) == 1
    # Killed between the outcome and the next.
    street.node.kill()
    street.ask(same, ms=200, times=2)
    street.ask(old, "a")
    street.ask(same, "y", ms=200)
    street.ask(same, ms=200, principal="mallory")
    street.node.start().wait_ready()
    found = street.outcomes(same, 205)
    completed = [each for each in found if each.status is Status.COMPLETED]
    assert len({each.timings for each in completed}) == 1
    assert {each.run for each in found} == {1}
    # Other content, and another's: refused, and told nothing.
    refused = [each for each in found if each.error]
    assert codes(refused) == ["id_reused"] * 2
    assert [each.outputs for each in refused] == [()] * 2
    assert len({each.timings for each in street.outcomes(old, 3)}) == 1


@pytest.mark.parametrize(
    "street", [AGAIN, pytest.param(ONCE, marks=pytest.mark.faults)], indirect=True
)
def test_who_asks_again_after_a_cancel_is_run(street: Street) -> None:
    again = new_request_id()
    street.ask(again, ms=60_000)
    street.cancel(again)
    assert codes(street.outcomes(again, 1)) == ["cancelled"]
    street.ask(again, ms=60_000)
    street.cancel(again)
    found = street.outcomes(again, 2)
    assert [(each.status, each.run) for each in found] == [
        (Status.CANCELLED, 1),
        (Status.CANCELLED, 2),
    ]
    # Also by a node that has read all cancels anew.
    street.node.kill()
    street.ask(again, ms=60_000)
    street.node.start().wait_ready()
    street.cancel(again)
    assert [each.run for each in street.outcomes(again, 3)] == [1, 2, 3]
