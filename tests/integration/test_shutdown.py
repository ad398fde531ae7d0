"""A node that is told to stop with requests that wait, load and run: each is answered, once."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import Status
from tests.programs import eventually
from tests.stations import Station, running

STUCK = "tests.integration.worker_helpers:Stuck"
MODELS = json.dumps(
    [
        {"name": "sleep", "task": "sleep", "source": "builtin:sleep"},
        {"name": "stuck", "task": "echo", "source": "builtin:echo", "engine": STUCK},
    ]
)


@pytest.fixture
def station(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Station]:
    settings = {"TIMING__DRAIN_S": 1}
    with running(broker.bootstrap_servers, tmp_path, MODELS, settings) as made:
        yield made


def test_whatever_was_open_is_answered_then_or_by_who_comes_next(station: Station) -> None:
    long = station.send(model="sleep", ms=600_000.0)
    eventually(lambda: station.node.models()["sleep"].get("running"), "a request that runs")
    waiting = station.send(3, model="sleep", ms=1.0)
    loading = station.send(model="stuck")
    eventually(lambda: station.node.models()["stuck"]["state"] == "loading", "a load")
    station.node.process.send_signal(signal.SIGTERM)
    (stopped,) = station.seen.answers(long)
    assert (stopped.status, stopped.error and stopped.error.code.value) == ("STOPPED", "stopped")
    assert station.node.wait(60) == 0, station.node.tail()
    assert not station.seen.results.keys() & {*waiting, *loading}, "they were never begun"
    station.node.start().wait_ready()
    assert {each.status for each in station.seen.answers(waiting)} == {Status.COMPLETED}
    station.cancel(loading[0])
    assert [each.status for each in station.seen.answers(loading)] == [Status.CANCELLED]
    assert [len(station.seen.results[each]) for each in long] == [1], "it is not run again"
