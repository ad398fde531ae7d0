"""The life of models on a real node: preloaded, pinned, kept, unloaded, quarantined."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from modelmora.broker import EmbeddedBroker
from modelmora.cli import main
from modelmora.messages import EventKind, Status
from modelmora.rpc.v1 import management_pb2 as pb
from modelmora.rpc.v1.management_pb2_grpc import ManagementServiceStub
from tests.foreign import Foreign, draft
from tests.nodes import GatewayProcess, NodeProcess, Observer
from tests.programs import eventually

MODELS = json.dumps(
    [
        {"name": "ahead", "task": "echo", "source": "builtin:echo", "preload": True},
        {"name": "brief", "task": "echo", "source": "builtin:echo", "keep_alive": 0},
        {"name": "crash", "task": "crash", "source": "builtin:crash"},
        {
            "name": "stuck",
            "task": "echo",
            "source": "builtin:echo",
            "engine": "tests.integration.worker_helpers:Stuck",
        },
        {"name": "oom", "task": "oom", "source": "builtin:oom", "warm_up": "any"},
    ]
)
SETTINGS = {"MODELS": MODELS, "LIMITS__RETRIES": 0}


class Station:
    """One node, the command line, and an eye on what comes out."""

    def __init__(self, servers: str, namespace: str, folder: Path) -> None:
        self.servers, self.namespace = servers, namespace
        self.node = NodeProcess(servers, namespace, folder, settings=SETTINGS)
        self.gateway = GatewayProcess(servers, namespace, folder)
        self.folder = folder
        self.seen: Observer
        self.foreign: Foreign

    def row(self, name: str) -> dict[str, Any]:
        return self.node.models().get(name, {})

    def state(self, name: str) -> str:
        return str(self.row(name).get("state"))

    def told(self, name: str) -> list[str]:
        return [str(each.kind) for each in self.seen.events if each.model == name]


@pytest.fixture(scope="module")
def station(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    made = Station(broker.bootstrap_servers, f"life{os.getpid()}", tmp_path_factory.mktemp("life"))
    with made.node, made.gateway:
        made.seen = Observer(made.servers, made.namespace)
        made.foreign = Foreign(made.servers, made.folder / "ids.jsonl", made.namespace)
        yield made
        made.foreign.close()
        made.seen.close()


@pytest.fixture
def run(station: Station, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def command(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        where = ("--bootstrap-servers", station.servers, "--namespace", station.namespace)
        code = main([*arguments, *where])
        out, err = capsys.readouterr()
        return code, out + err

    return command


Run = Callable[..., tuple[int, str]]


def ask(station: Station, *texts: str, model: str, **parameters: Any) -> list[Any]:
    drafts = [draft(model, [text], parameters) for text in texts]
    for each in drafts:
        station.foreign.send("normal", each)
    station.foreign.flush()
    return station.seen.answers([each.request_id for each in drafts])


def until_told(station: Station, model: str, kind: EventKind) -> None:
    station.seen.until(lambda: station.told(model)[-1:] == [kind.value], f"{model} {kind}")


def test_preloaded_models_are_there_before_they_are_asked_for(station: Station) -> None:
    seen = station.seen
    loading = ("ahead", EventKind.LOADING)
    seen.until(lambda: loading in [(each.model, each.kind) for each in seen.events], "a load")
    first = next(each for each in seen.events if (each.model, each.kind) == loading)
    assert first.facts["cause"] == "order", "nobody has asked for it"


def test_a_model_leaves_as_soon_as_it_is_idle_and_as_its_request_says(station: Station) -> None:
    for model, parameters in (("brief", {}), ("ahead", {"keep_alive": 0})):
        (answer,) = ask(station, "a", model=model, **parameters)
        assert answer.status is Status.COMPLETED
        assert answer.settings == {}
        until_told(station, model, EventKind.UNLOADED)
        assert station.state(model) == "cold"
        last = [each for each in station.seen.events if each.model == model][-1]
        assert last.facts["reason"] == "idle"


def test_orders_are_obeyed_and_answered(station: Station, run: Run) -> None:
    code, told = run("load", "ahead")
    assert (code, "ahead@1 ready" in told) == (0, True), told
    pid = station.row("ahead")["pid"]
    assert run("load", "ahead@1")[0] == 0
    assert station.row("ahead")["pid"] == pid, "it was there"
    code, told = run("pin", "ahead")
    assert code == 0, told
    eventually(lambda: station.row("ahead").get("pinned") is True, "a pinned model")
    code, told = run("unload", "ahead")
    assert (code, "is pinned; `modelmora unpin` it first" in told) == (1, True), told
    assert run("unpin", "ahead")[0] == 0
    eventually(lambda: station.row("ahead").get("pinned") is False, "a model that may leave")
    code, told = run("unload", "ahead")
    assert (code, "ahead@1 cold" in told) == (0, True), told
    assert station.state("ahead") == "cold"
    assert run("unload", "ahead")[0] == 0, "it is gone already"
    code, told = run("load", "oom")
    assert (code, "its test request failed: out_of_memory" in told) == (1, True), told
    code, told = run("load", "nobody")
    assert (code, "serves nobody" in told) == (3, True), told


def test_rest_and_grpc_are_doors_for_orders_too(station: Station) -> None:
    def post(path: str, body: Any) -> tuple[int, Any]:
        answer = httpx.post(f"{station.gateway.http}/models/{path}", json=body, timeout=60)
        return answer.status_code, answer.json()

    def where(told: Any) -> list[tuple[str, str]]:
        return [(each["name"], each["state"]) for each in told["models"]]

    status, told = post("ahead/load", {})
    assert (status, told["done"], told["look"]) == (202, False, "/status")
    status, told = post("ahead/load", {"wait_s": 60})
    assert (status, told["done"], where(told)) == (200, True, [("ahead", "ready")])
    assert post("ahead/pin", {"wait_s": 60})[0] == 200
    eventually(lambda: station.row("ahead").get("pinned") is True, "a pinned model")
    status, told = post("ahead/unload", {"wait_s": 60})
    assert (status, told["code"]) == (409, "refused")
    assert post("ahead/unpin", {"wait_s": 60})[0] == 200
    eventually(lambda: station.row("ahead").get("pinned") is False, "a model that may leave")
    status, told = post("nobody/load", {})
    assert (status, told["code"]) == (404, "unknown_model")
    with grpc.insecure_channel(station.gateway.facts["grpc"]) as channel:
        stub = ManagementServiceStub(channel)  # type: ignore[no-untyped-call]
        reply = stub.Unload(pb.OrderRequest(model="ahead@1", wait_ms=60_000))
        assert (reply.done, [each.state for each in reply.models]) == (True, ["cold"])
        assert station.state("ahead") == "cold"

        def told_cold() -> bool:
            models = stub.Status(pb.StatusRequest()).models
            return ("ahead", "cold") in [(each.name, each.state) for each in models]

        eventually(told_cold, "a status as it is")


def test_a_poison_is_no_fault_of_its_model_but_nothing_than_poison_is(
    station: Station, run: Run
) -> None:
    poison = {"marker": "poison"}
    answers = ask(station, "a", "poison", "b", model="crash", **poison)
    codes = [each.error and each.error.code.value for each in answers]
    assert codes == [None, "worker_crash", None]
    assert station.state("crash") in ("ready", "loading")
    answers = ask(station, *["poison"] * 7, model="crash", **poison)
    codes = [each.error.code.value for each in answers]
    assert codes == ["worker_crash"] * 5 + ["model_unavailable"] * 2
    assert 0 < answers[-1].error.retry_after_ms <= 60_000
    row = station.row("crash")
    assert (row["state"], row["pid"]) == ("quarantined", None)
    (refused,) = ask(station, "a", model="crash", **poison)
    assert refused.error.code.value == "model_unavailable"
    until_told(station, "crash", EventKind.QUARANTINED)
    code, told = run("load", "crash")
    assert (code, "crash@1 ready" in told) == (0, True), told
    (answer,) = ask(station, "a", model="crash", **poison)
    assert answer.status is Status.COMPLETED


def test_a_load_that_stands_still_is_cancelled_and_holds_up_no_other(
    station: Station, run: Run
) -> None:
    """Whether its process waits for ever or is stopped."""
    for stopped in (False, True):
        waits = draft("stuck", ["a"])
        station.foreign.send("normal", waits)
        station.foreign.flush()
        eventually(lambda: station.row("stuck").get("pid"), "a process that loads")
        row = station.row("stuck")
        assert (row["state"], row["waiting"]) == ("loading", 1)
        if stopped:
            os.kill(row["pid"], signal.SIGSTOP)
        assert ask(station, "a", model="brief")[0].status is Status.COMPLETED
        code, told = run("unload", "stuck")
        assert (code, "stuck@1 cold" in told) == (0, True), told
        (refused,) = station.seen.answers([waits.request_id])
        assert refused.error
        assert refused.error.code.value == "model_unavailable"
        assert station.row("stuck")["pid"] is None


def test_a_pin_outlives_the_node_and_an_order_does_not(station: Station, run: Run) -> None:
    assert run("load", "brief", "--pin")[0] == 0
    assert run("load", "crash")[0] == 0
    assert station.row("brief")["pinned"] is True, "it is answered once it is kept here"
    assert station.node.stop() == 0
    station.node.start().wait_ready()
    eventually(lambda: station.state("brief") == "ready", "the pinned model")
    assert station.row("brief")["pinned"] is True
    assert station.state("crash") == "cold"
    assert run("unpin", "brief")[0] == 0
