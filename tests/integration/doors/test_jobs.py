"""Jobs over the topics: any gateway tells of them, after kills too, and to their caller alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from modelmora.access.files import KeyFile
from modelmora.access.keys import Keys, made
from modelmora.client import Answer, Client, Job, Options, Text
from modelmora.settings import Settings
from modelmora.wire import new_request_id
from tests.faults.recording import Figures
from tests.nodes import PARTITIONS, GatewayProcess, frozen
from tests.programs import eventually
from tests.stations import Station

CAP_S = 60
Pair = tuple[GatewayProcess, GatewayProcess]
Opened = Callable[[GatewayProcess, str], httpx.Client]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("keys")
    found = {"folder": str(folder)}

    def add(keys: Keys, pepper: bytes) -> Keys:
        for name in ("alice", "bob"):
            found[name], key = made(keys, name, pepper, 0)
            keys = (*keys, key)
        return keys

    KeyFile.of(Settings(data_dir=folder)).change(add)
    return found


@pytest.fixture(scope="module")
def gateways(
    station: Station, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    held = {
        "ACCESS__CALLERS": "keys",
        "ACCESS__KEYS_FILE": f"{keys['folder']}/keys.json",
        "ACCESS__PEPPER_FILE": f"{keys['folder']}/keys.pepper",
    }
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    programs = [
        GatewayProcess(station.servers, station.namespace, folder, held) for folder in folders
    ]
    with programs[0] as one, programs[1] as two:
        yield one, two


@pytest.fixture
def client() -> Iterator[Opened]:
    """Opens a client with a key, and closes it in the end."""
    with ExitStack() as stack:

        def opened(gateway: GatewayProcess, key: str) -> httpx.Client:
            headers = {"authorization": f"Bearer {key}"}
            made = httpx.Client(base_url=gateway.http, headers=headers, timeout=CAP_S)
            return stack.enter_context(made)

        yield opened


def submit(at: httpx.Client, model: str, words: int = 3, ms: float = 0, **headers: str) -> Any:
    parameters = {"words": words, "ms": ms} if model == "single" else {}
    body = {"inputs": ["x"], "parameters": parameters}
    answer = at.post(f"/infer/{model}/async", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['request_id']}"
    return answer.json()


def state(at: httpx.Client, job_id: str, wait_s: float = 0) -> Any:
    return at.get(f"/jobs/{job_id}", params={"wait_s": wait_s}).json()


def test_any_gateway_tells_of_a_job_to_its_caller_alone(
    gateways: Pair, keys: dict[str, str], client: Opened
) -> None:
    one, two = (client(gateway, keys["alice"]) for gateway in gateways)
    job_id = submit(one, "echo")["request_id"]
    for at in (two, one):
        job = state(at, job_id, CAP_S)
        assert (job["state"], job["version"], job["error"]) == ("completed", "1", None)
        assert job["held_until"] > job["ended_at"] >= job["submitted_at"]
        assert at.get(f"/jobs/{job_id}/result").json()["outputs"] == ["x"]
    for gateway in gateways:
        other = client(gateway, keys["bob"])
        for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/result", f"/jobs/{job_id}/events"):
            assert other.get(path).json()["code"] == "not_found"
        assert other.delete(f"/jobs/{job_id}").status_code == 404
        taken = other.post("/infer/echo", json={"inputs": "y"}, headers={"x-request-id": job_id})
        assert (taken.status_code, taken.json()["code"]) == (409, "id_reused")
    assert state(one, new_request_id(PARTITIONS))["code"] == "not_found"


def test_a_job_is_watched_and_taken_back_elsewhere(
    gateways: Pair, keys: dict[str, str], client: Opened
) -> None:
    one, two = (client(gateway, keys["alice"]) for gateway in gateways)
    running = submit(one, "single", 100_000, 5)["request_id"]
    eventually(lambda: state(two, running)["state"] == "processing", "it runs")
    assert two.get(f"/jobs/{running}/result").json()["code"] == "not_finished"
    behind = submit(one, "single", 3)["request_id"]
    eventually(lambda: state(two, behind)["state"] == "queued", "it waits")
    with two.stream("GET", f"/jobs/{running}/events") as events:
        names = (line[7:] for line in events.iter_lines() if line.startswith("event: "))
        assert next(names) == "job"
        assert two.delete(f"/jobs/{running}").json()["state"] == "cancelled"
        assert [*names][-1] == "job"
    # Each gateway hears of it by itself.
    eventually(lambda: state(one, running)["state"] == "cancelled", "the other has heard of it")
    error = one.get(f"/jobs/{running}/result")
    assert (error.status_code, error.json()["code"]) == (409, "cancelled")
    assert state(two, behind, CAP_S)["state"] == "completed"


def accepted(station: Station, ids: Iterable[str]) -> None:
    """Wait until a node has accepted them."""
    wanted = {*ids}

    def all_are() -> bool:
        station.reader.read()
        return station.reader.accepted >= wanted

    eventually(all_are, "a node has accepted them all")


@pytest.mark.row("F16")
@pytest.mark.parametrize("number", [20, pytest.param(100, marks=pytest.mark.faults)])
def test_a_gateway_is_killed_with_callers_and_jobs_open(
    station: Station, gateways: Pair, keys: dict[str, str], number: int, figures: Figures
) -> None:
    options = Options(api_key=keys["alice"])
    addresses = [gateway.grpc for gateway in gateways]
    callers = [new_request_id(PARTITIONS) for _ in range(number)]
    with Client(*addresses, options=options) as client, ThreadPoolExecutor(number) as pool:

        def submit(words: int, ms: float = 0) -> Job:
            return client.submit("single", ["x"], parameters={"words": words, "ms": ms})

        def ask(request_id: str) -> Answer:
            words = {"words": 2}
            return client.infer("single", ["x"], parameters=words, request_id=request_id)

        jobs = [submit(1000, 5)]  # in the way of all others
        jobs += pool.map(submit, [3] * number)
        waiting = [pool.submit(ask, each) for each in callers]
        accepted(station, callers)
        gateways[0].kill()
        assert [each.result().request_id for each in waiting] == callers
        assert [job.wait(CAP_S).state for job in jobs] == ["completed"] * len(jobs)
        assert jobs[-1].result().request_id == jobs[-1].id
    station.seen.ended_once([*callers, *(job.id for job in jobs)])
    figures.add(requests=len(callers) + len(jobs), faults=1, lost=0, contradicting=0)
    gateways[0].start().wait_ready()


def test_a_frozen_gateway_holds_nobody_up(
    station: Station, gateways: Pair, keys: dict[str, str]
) -> None:
    options = Options(api_key=keys["alice"], patience_s=0.5)
    addresses = [gateway.grpc for gateway in gateways]
    callers = [new_request_id(PARTITIONS) for _ in range(5)]
    with Client(*addresses, options=options) as client, ThreadPoolExecutor(5) as pool:
        pieces = client.stream("single", ["x"], parameters={"words": 400, "ms": 10})
        told = [next(each for each in pieces if isinstance(each, Text))]
        waiting = [pool.submit(client.infer, "single", ["x"], request_id=each) for each in callers]
        accepted(station, callers)
        with frozen(gateways[0].process.pid):
            rest = [*pieces]
            assert [each.result().request_id for each in waiting] == callers
            began = time.monotonic()
            client.infer("echo", ["x"])
            assert time.monotonic() - began < CAP_S / 2, "the next call does not wait for it"
        answer = rest[-1]
        told += [each for each in rest if isinstance(each, Text)]
    assert isinstance(answer, Answer)
    assert "".join(each.text for each in told) == answer.outputs[0]
    station.seen.ended_once([answer.request_id, *callers])


def test_an_id_under_way_is_no_job_of_somebody_else(
    station: Station, gateways: Pair, keys: dict[str, str], client: Opened
) -> None:
    alice, bob = (client(gateways[0], keys[name]) for name in ("alice", "bob"))
    request_id = new_request_id(PARTITIONS)
    body = {"inputs": ["x"], "parameters": {"words": 600, "ms": 5}}
    named = {"x-request-id": request_id}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(alice.post, "/infer/single", json=body, headers=named)

        accepted(station, [request_id])
        for at in (bob, alice, client(gateways[1], keys["bob"])):
            taken = at.post("/infer/single/async", json=body, headers=named)
            assert (taken.status_code, taken.json()["code"]) == (409, "id_reused")
            assert at.delete(f"/jobs/{request_id}").status_code == 404
        assert waiting.result().status_code == 200


def test_who_has_hung_up_may_ask_again(
    station: Station, gateways: Pair, keys: dict[str, str], client: Opened
) -> None:
    one, two = (client(gateway, keys["alice"]) for gateway in gateways)
    body = {"inputs": ["x"], "parameters": {"words": 400, "ms": 5}}
    for again in (one, two):
        request_id = new_request_id(PARTITIONS)
        named = {"x-request-id": request_id}
        with pytest.raises(httpx.ReadTimeout):
            one.post("/infer/single", json=body, headers=named, timeout=0.5)
        answer = again.post("/infer/single", json=body, headers=named)
        assert answer.status_code == 200, answer.text
        for at in (one, two):
            assert at.post("/infer/single", json=body, headers=named).json() == answer.json()
        other = {"inputs": ["y"]}
        bob = client(gateways[0], keys["bob"])
        for at, asked in ((one, other), (two, other), (bob, body)):
            taken = at.post("/infer/single", json=asked, headers=named)
            assert (taken.status_code, taken.json()["code"]) == (409, "id_reused")


def test_two_gateways_asked_at_once_run_it_once(
    station: Station, gateways: Pair, keys: dict[str, str], client: Opened
) -> None:
    callers = [client(gateway, keys["alice"]) for gateway in gateways]
    key = {"idempotency-key": new_request_id()}
    body = {"inputs": ["x"], "parameters": {"words": 20, "ms": 5}}
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(at.post, "/infer/single", json=body, headers=key) for at in callers]
        answers = [each.result() for each in asked]
    assert [each.status_code for each in answers] == [200, 200], [each.text for each in answers]
    assert answers[0].json() == answers[1].json()
    station.seen.ended_once([answers[0].json()["request_id"]])
