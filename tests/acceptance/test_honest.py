"""Honest about busy: what callers of a gateway are told while its one node has its hands full."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.messages import InferenceRequest, Status
from tests.nodes import GatewayProcess
from tests.programs import eventually
from tests.stations import Station, running

CAP_S = 120
HELPERS = "tests.integration.worker_helpers"
SECRET = "a phrase that nobody keeps"
NEEDS_MB = 90
MIXED = ("words", "heavy-1", "heavy-2", "heavy-3")
"""For more models than fit in memory together: each of the heavy ones holds 64 MiB and more."""


def model(name: str, task: str = "echo", engine: str | None = None, mb: int = 20) -> dict[str, Any]:
    more = {} if engine is None else {"engine": f"{HELPERS}:{engine}"}
    needs = {"memory_mb": mb}
    return {"name": name, "task": task, "source": f"builtin:{task}", "needs": needs, **more}


MODELS = json.dumps(
    [
        model("hog", "sleep"),
        model("words", "count"),
        model("stuck", engine="Stuck"),
        model("vast", mb=10_000_000),
        model("crash", "crash"),
        *(model(name, engine="Heavy", mb=NEEDS_MB) for name in MIXED[1:]),
    ]
)


REFUSED: tuple[tuple[str, dict[str, Any], int, str], ...] = (
    ("nobody", {}, 404, "unknown_model"),
    ("hog", {"ms": "soon"}, 400, "invalid_input"),
    ("hog", {"nope": 1}, 400, "unknown_parameter"),
    ("vast", {}, 500, "cannot_be_served"),
)


@pytest.fixture(scope="module")
def station(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    settings = {"TIMING__DRAIN_S": 1, "MEMORY__BUDGET_BYTES": 260 << 20, "LIMITS__RETRIES": 0}
    folder = tmp_path_factory.mktemp("node")
    with running(broker.bootstrap_servers, folder, MODELS, settings) as made:
        yield made


@pytest.fixture(scope="module")
def rest(station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("gateway")
    program = GatewayProcess(station.servers, station.namespace, folder)
    with program as gateway, httpx.Client(base_url=gateway.http, timeout=CAP_S) as client:
        yield client
    assert SECRET not in program.log.read_text(errors="replace")
    assert SECRET not in station.node.log.read_text(errors="replace")


def submit(rest: httpx.Client, name: str, timeout_ms: int = 600_000, **parameters: Any) -> str:
    body = {"inputs": [SECRET], "parameters": parameters, "timeout_ms": timeout_ms}
    answer = rest.post(f"/infer/{name}/async", json={**body, "progress": True})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["request_id"])


def job(rest: httpx.Client, job_id: str, wait_s: float = 0) -> dict[str, Any]:
    found: dict[str, Any] = rest.get(f"/jobs/{job_id}", params={"wait_s": wait_s}).json()
    return found


def until(rest: httpx.Client, job_id: str, state: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        return found if (found := job(rest, job_id))["state"] == state else None

    return eventually(look, f"it is {state}") or {}


def withdraw(rest: httpx.Client, job_id: str) -> None:
    assert rest.delete(f"/jobs/{job_id}").status_code in (200, 202)
    until(rest, job_id, "cancelled")


@pytest.fixture
def busy(rest: httpx.Client) -> Iterator[str]:
    """The node computes something that does not end before the test does.

    Whoever comes after a withdrawn one waits until its process is ended, 10 s later.
    """
    assert job(rest, submit(rest, "hog", ms=1.0), CAP_S)["state"] == "completed"
    job_id = submit(rest, "hog", ms=500_000.0)
    until(rest, job_id, "processing")
    yield job_id
    withdraw(rest, job_id)


def test_each_is_told_at_once_where_it_stands_hears_when_that_changes_and_busy_if_it_asks(
    station: Station, rest: httpx.Client, busy: str
) -> None:
    """Here, that the one that was expected to take a moment goes on and on."""
    waiting = [submit(rest, "hog", ms=float(number)) for number in (2, 3)]
    told = eventually(
        lambda: found if (found := job(rest, waiting[1]))["position"] is not None else None,
        "it was accepted",
    )
    assert told
    assert (told["state"], told["position"]) == ("queued", 2)
    assert told["estimate_ms"] is not None
    eventually(
        lambda: job(rest, waiting[1])["estimate_ms"] > told["estimate_ms"] + 6000,
        "a longer estimate",
    )
    is_refused_where_it_would_be_late(station)
    withdraw(rest, waiting[0])
    eventually(lambda: job(rest, waiting[1])["position"] == 1, "one place further")
    withdraw(rest, waiting[1])


def is_refused_where_it_would_be_late(station: Station) -> None:
    """Of two that come to the same line with the same time, one says that it would not wait."""
    one, other = (
        InferenceRequest(str(uuid.uuid4()), "hog", ("x",), parameters={"ms": 4.0}, timeout_ms=5000)
        for _ in range(2)
    )
    ids = [station.send_one(one, ("modelmora-or-busy", b"")), station.send_one(other)]
    refused, late = station.seen.answers(ids)
    assert (refused.status, late.status) == (Status.REFUSED, Status.EXPIRED)
    assert refused.error
    assert refused.error.code.value == "busy"
    assert refused.error.retry_after_ms


def test_what_cannot_be_is_refused_with_its_reason_though_all_is_busy(
    rest: httpx.Client, busy: str
) -> None:
    for name, parameters, status, code in REFUSED:
        answer = rest.post(f"/infer/{name}", json={"inputs": ["x"], "parameters": parameters})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert job(rest, busy)["state"] == "processing"


def test_a_model_that_is_out_of_order_says_when_to_ask_again(
    station: Station, rest: httpx.Client, busy: str
) -> None:
    waits = submit(rest, "stuck")
    loading = until(rest, waits, "loading")
    assert (loading["position"], loading["estimate_ms"]) == (0, None), "nobody has seen it load"
    assert rest.post("/models/stuck/unload", json={}).status_code in (200, 202)
    ended = until(rest, waits, "failed")
    assert ended["error"]["code"] == "model_unavailable"


def test_each_way_to_end_is_a_state_of_its_own(rest: httpx.Client, busy: str) -> None:
    late = submit(rest, "hog", 1000, ms=9.0)
    assert job(rest, late, CAP_S)["state"] == "expired"
    gone = submit(rest, "hog", ms=9.0)
    withdraw(rest, gone)
    dies = submit(rest, "crash")
    assert job(rest, dies, CAP_S)["error"]["code"] == "worker_crash"
    counts = submit(rest, "words", words=100_000, ms=1.0)
    until(rest, counts, "processing")
    eventually(lambda: (job(rest, counts)["step"] or 0) > 3, "tokens are counted")
    withdraw(rest, counts)


def test_a_burst_for_more_models_than_fit_is_answered_whole(
    station: Station, rest: httpx.Client
) -> None:
    def ask(number: int) -> str:
        return submit(rest, MIXED[number % len(MIXED)])

    with ThreadPoolExecutor(4) as callers:
        ids = [*callers.map(ask, range(20))]
        ended = [*callers.map(lambda each: job(rest, each, CAP_S), ids)]
    assert {each["state"] for each in ended} == {"completed"}, ended
    assert len(set(ids)) == 20
    outcomes = station.seen.answers(ids)
    assert {each.status for each in outcomes} == {Status.COMPLETED}, "and each has one outcome"


@pytest.mark.faults
def test_a_node_that_stops_leaves_nobody_without_a_word(
    station: Station, rest: httpx.Client
) -> None:
    runs = submit(rest, "hog", ms=500_000.0)
    until(rest, runs, "processing")
    waits, loads = submit(rest, "hog", ms=4.0), submit(rest, "stuck")
    until(rest, loads, "loading")
    station.node.process.send_signal(signal.SIGTERM)
    stopped = until(rest, runs, "stopped")
    assert stopped["error"]["code"] == "stopped"
    assert station.node.wait(60) == 0, station.node.tail()
    station.node.start().wait_ready()
    assert job(rest, waits, CAP_S)["state"] == "completed"
    withdraw(rest, loads)
