"""A name whose route changes while nodes die: no id is answered by two versions."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.client.kafka import KafkaClient
from modelmora.records.changes import MOST_CHANGES
from modelmora.routing import Steps
from modelmora.routing.choosing import shared, step_at
from modelmora.settings.routes import Route
from modelmora.wire import time_of
from tests.foreign import draft
from tests.integration.test_nodes import Yard
from tests.nodes import GatewayProcess, NodeProcess, Observer
from tests.programs import eventually

VERSIONS = ("1", "2", "3")
MODELS = json.dumps(
    [
        {"name": "m", "version": each, "task": "sleep", "source": "builtin:sleep"}
        for each in VERSIONS
    ]
)
CAP_S = 120.0
CHANGES = MOST_CHANGES - 1


class Town:
    """Nodes with three versions of one model, a gateway, and what was asked of them."""

    def __init__(self, yard: Yard, stack: ExitStack) -> None:
        self.yard = yard
        self.nodes = [stack.enter_context(self._node(name)) for name in ("n1", "n2")]
        folder = yard.folder / "gateway"
        folder.mkdir()
        gateway = GatewayProcess(yard.servers, yard.namespace, folder)
        self.gateway = stack.enter_context(gateway)
        self.seen = stack.enter_context(closing(Observer(yard.servers, yard.namespace)))
        self.client = stack.enter_context(KafkaClient(yard.servers, yard.namespace))
        self.ids: list[str] = []

    def _node(self, name: str) -> NodeProcess:
        return self.yard.node(name, MODELS=MODELS, LIMITS__GROUP_REQUESTS=4)

    def ask(self, count: int, ms: float = 10.0) -> None:
        """Requests with a time in their id, and as many without."""
        self.ids += [self.client.submit("m", ["x"], parameters={"ms": ms}) for _ in range(count)]
        drafts = [draft("m", ["x"], {"ms": ms}) for _ in range(count)]
        self.ids += [each.request_id for each in self.yard.send(drafts)]

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """An answer of the gateway."""
        data = None if body is None else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.gateway.http + path, data, {"content-type": "application/json", **headers}
        )
        request.method = method
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def route(self, **told: Any) -> None:
        self.call("PUT", "/models/m/route", told)

    def steps(self) -> Steps:
        """How `m` was answered at each time."""
        found = self.call("GET", "/models/m/route")
        fields = Route.model_fields
        return tuple(
            (each["since_ms"], Route.model_validate({f: each[f] for f in fields}))
            for each in (*found["before"], found)
        )


@pytest.fixture
def town(broker: EmbeddedBroker, namespace: str, tmp_path: Path) -> Iterator[Town]:
    with ExitStack() as stack:
        yield Town(Yard(broker, namespace, tmp_path), stack)


def test_a_header_of_a_caller_chooses_and_the_outcome_says_by_what(town: Town) -> None:
    """From the door to the node; what is made within ten seconds is answered as before."""
    rule = {"header": "x-cohort", "value": "beta", "version": "2"}
    town.route(weights={"1": 1}, rules=[rule])
    since_ms = town.steps()[-1][0]
    body = {"inputs": ["x"]}
    found = town.call("POST", "/infer/m", body, x_cohort="beta")
    assert (found["version"], "route" in found["settings"]) == ("1", False)

    def counts() -> bool:
        return time.time_ns() // 1_000_000 > since_ms

    eventually(counts, "the change to count", CAP_S)
    found = town.call("POST", "/infer/m", body, x_cohort="beta")
    assert (found["version"], found["settings"]["route"]) == ("2", f"rule 1 since {since_ms}")
    found = town.call("POST", "/infer/m", body, x_cohort="alpha")
    assert (found["version"], found["settings"]["route"]) == ("1", f"weights since {since_ms}")
    town.ids = [town.client.submit("m@3", ["x"])]
    (result,) = town.seen.answers(town.ids)
    assert (result.version, "route" in result.settings) == ("3", False)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_no_id_has_two_versions_while_routes_change_and_nodes_die(town: Town) -> None:
    """A version is what the last word of the registry says of the time in the id, for all ids."""
    town.route(weights={"1": 1})
    for number in range(CHANGES):
        town.ask(60)
        shares = {each: 1 + (number * (place + 1)) % 4 for place, each in enumerate(VERSIONS)}
        town.route(weights=shares)
        town.ask(60, ms=40.0)
        victim = town.nodes[number % 2]
        victim.kill()
        town.ask(30)
        victim.start().wait_ready(CAP_S)
    town.seen.until(lambda: town.seen.results.keys() >= {*town.ids}, "every outcome")
    steps = town.steps()
    answers: set[str] = set()
    for each in town.ids:
        (version,) = {result.version for result in town.seen.results[each]}
        answers.add(version)
        if (made_ms := time_of(each)) is not None:
            weights = step_at(steps, made_ms)[1].weights
            assert version == shared("m", weights, f"id {each}")
    assert answers == {*VERSIONS}
