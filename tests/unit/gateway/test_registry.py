"""The registry through both doors: what is answered, what is refused, what two at once do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc.aio
import httpx
import pytest

from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.messages import EventKind, RegistryKind, RegistryRecord
from modelmora.rpc.v1 import registry_pb2 as pb
from modelmora.rpc.v1 import registry_pb2_grpc as pb_grpc
from tests.unit.gateway.fakes import FakeHall

MODEL = {"name": "m", "task": "echo", "source": "/m"}
V1 = "/models/m/versions/1"


@pytest.fixture
async def client(hall: FakeHall) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(hall, Metrics(), 1_000_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://g") as client:
        yield client


@pytest.fixture
async def stub(hall: FakeHall) -> AsyncIterator[Any]:
    server = RpcServer(hall, Metrics(), 1_000_000)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.RegistryServiceStub(channel)  # type: ignore[no-untyped-call]
    await server.stop(0)


async def test_the_life_of_a_model(hall: FakeHall, client: httpx.AsyncClient) -> None:
    made = await client.post("/models", json=MODEL | {"keep_alive": 60})
    assert (made.status_code, made.headers["location"]) == (201, V1)
    assert made.json()["active"], "the first of its name"
    again = await client.post("/models", json=MODEL | {"keep_alive": 60})
    assert (again.status_code, again.headers["etag"]) == (200, made.headers["etag"])
    other = await client.post("/models", json=MODEL)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    second = await client.post("/models", json=MODEL | {"version": "2"})
    assert not second.json()["active"], "a newer one takes nothing over"
    changed = await client.patch(V1, json={"keep_alive": None, "metadata": {"a": [1, 2]}})
    assert changed.status_code == 400
    changed = await client.patch(V1, json={"keep_alive": None, "metadata": {"a": "b"}})
    assert (changed.json()["keep_alive"], changed.json()["metadata"]) == (None, {"a": "b"})
    assert changed.headers["etag"] != made.headers["etag"]
    same = await client.patch(V1, json={"metadata": {"a": "b"}})
    assert same.headers["etag"] == changed.headers["etag"], "nothing was written"
    refused = await client.delete(V1)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "activate another version first: 2" in refused.json()["detail"]
    chosen = await client.patch("/models/m", json={"active": "2", "default": True})
    assert (chosen.json()["active"], chosen.json()["default_for"]) == ("2", ["echo"])
    retired = await client.delete(V1)
    assert (retired.status_code, retired.json()["state"]) == (200, "retired")
    assert (await client.get(V1)).json()["metadata"] == {"a": "b"}, "its record stays"
    assert (await client.patch(V1, json={})).status_code == 404
    versions = (await client.get("/models/m")).json()["versions"]
    assert [each["state"] for each in versions] == ["retired", None]
    back = await client.post("/models", json=MODEL)
    assert (back.status_code, back.json()["metadata"]) == (201, {})
    assert hall.registry.told == [
        (EventKind.REGISTERED, ("m", "1")),
        (EventKind.VERSION_ADDED, ("m", "2")),
        (EventKind.ROUTE_CHANGED, ("m", "2")),
        (EventKind.UNREGISTERED, ("m", "1")),
        (EventKind.VERSION_ADDED, ("m", "1")),
    ]
    assert hall.registry.audited == [
        ("install", "m"),
        ("route", "m"),
        ("install", "m"),
        ("update", "m"),
        ("route", "m"),
        ("default", "m"),
        ("uninstall", "m"),
        ("install", "m"),
    ]


async def test_who_names_what_it_has_seen_changes_nothing_else(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    seen = (await client.post("/models", json=MODEL)).headers["etag"]
    first = await client.patch(V1, json={"pinned": True}, headers={"if-match": seen})
    assert first.status_code == 200
    for method, body in (("PATCH", {"pinned": False}), ("DELETE", None)):
        late = await client.request(method, V1, json=body, headers={"if-match": seen})
        assert (late.status_code, late.json()["code"]) == (412, "stale")
    for odd in ("W/" + seen, "5", '"x"', '"-1"'):
        late = await client.patch(V1, json={}, headers={"if-match": odd})
        assert late.status_code == 412
    assert (await client.get(V1)).json()["pinned"] is True
    any_ = await client.patch(V1, json={"pinned": False}, headers={"if-match": "*"})
    assert any_.status_code == 200


async def test_of_two_at_once_one_is_told_that_it_lost(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    await client.post("/models", json=MODEL)
    entry = hall.registrar.state.model("m", "1")
    assert entry
    theirs = replace(entry.record, source="/theirs", based_on=entry.offset)
    hall.registry.before = [theirs]
    lost = await client.patch(V1, json={"source": "/ours"})
    assert (lost.status_code, lost.json()["code"]) == (409, "conflict")
    assert (await client.get(V1)).json()["source"] == "/theirs"
    assert (await client.patch(V1, json={"source": "/ours"})).status_code == 200
    route = hall.registrar.state.route("m")
    assert route
    hall.registry.before = [replace(route.record, writer="theirs", based_on=route.offset)]
    lost = await client.put("/models/m/route", json={"weights": {"1": 5}})
    assert lost.status_code == 409
    assert "another has changed the route of m at the same time" in lost.json()["detail"]


@pytest.mark.parametrize(
    ("change", "stay"),
    [
        ({"pinned": True}, True),
        ({"source": "/n"}, False),
        ({"revision": "r2"}, False),
        ({"adapter": {"source": "/tune"}}, False),
        ({"files": [{"path": "m.gguf", "size": 1, "sha256": "0" * 64}]}, False),
        ({"task": "count"}, False),
    ],
)
async def test_what_files_tell_goes_with_them(
    hall: FakeHall, client: httpx.AsyncClient, change: dict[str, Any], stay: bool
) -> None:
    await client.post("/models", json=MODEL)
    entry = hall.registrar.state.model("m", "1")
    assert entry
    told = replace(entry.record, file_facts="{}", max_inputs=3, based_on=entry.offset)
    hall.registry.write(told)
    assert (await client.patch(V1, json=change)).status_code == 200
    entry = hall.registrar.state.model("m", "1")
    assert entry
    kept = (entry.record.file_facts, entry.record.max_inputs)
    assert kept == (("{}", 3) if stay else ("", None)), "a node that has the new ones tells them"


async def test_what_a_newer_release_told_is_kept(hall: FakeHall, client: httpx.AsyncClient) -> None:
    await client.post("/models", json=MODEL)
    entry = hall.registrar.state.model("m", "1")
    assert entry
    details = json.dumps({"colour": "blue", "pinned": True, "replicas": {"min": "odd"}})
    hall.registry.write(replace(entry.record, details=details, based_on=entry.offset))
    shown = (await client.get(V1)).json()
    assert (shown["pinned"], shown["replicas"]) == (True, {"min": 1, "max": 1})
    assert (await client.patch(V1, json={"pinned": False})).status_code == 200
    entry = hall.registrar.state.model("m", "1")
    assert entry
    assert json.loads(entry.record.details) == {"colour": "blue"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "name: is missing"),
        (MODEL | {"name": "Bad Name"}, "name"),
        (MODEL | {"keepalive": 3}, "keepalive: is no field here; did you mean keep_alive?"),
        (MODEL | {"licence": {"name": ""}}, "licence.name"),
        (MODEL | {"metadata": {"a": "x" * 300_000}}, "262144 are allowed"),
        ([], "the body is an object"),
        (MODEL | {"parameters": {"n": 1 << 70}}, "at most 64 bits"),
    ],
)
async def test_what_cannot_be_registered(
    hall: FakeHall, client: httpx.AsyncClient, body: Any, told: str
) -> None:
    log = [*hall.registry.log]
    answer = await client.post("/models", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert told in answer.json()["detail"]
    assert hall.registry.log == log


async def test_pages_and_filters(hall: FakeHall, client: httpx.AsyncClient) -> None:
    for number in range(7):
        hall.registry.register(f"m{number}")
    hall.reasons["m3"] = "torn"
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await client.get("/models", params=query)).json()
        seen += [model["name"] for model in page["models"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == ["echo", *(f"m{number}" for number in range(7))]

    async def names(**query: Any) -> list[str]:
        models = (await client.get("/models", params=query)).json()["models"]
        return [model["name"] for model in models]

    assert await names(name="m2") == ["m2"]
    assert await names(state="failed") == ["m3"]
    assert await names(state="ready") == ["echo"]
    assert await names(task="other") == await names(version="2") == []
    assert (await client.delete("/models/m6/versions/1")).status_code == 200
    assert await names(state="retired") == ["m6"]
    assert "m6" not in await names()
    for odd in ("limit=0", "limit=x", "cursor=%ff", "state=odd", "nmae=m", "name=a&name=b"):
        answer = await client.get(f"/models?{odd}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input"), odd
    assert (await client.get("/models/nothing")).status_code == 404
    assert (await client.get("/models/m1/versions/9")).status_code == 404


async def test_the_same_over_grpc(hall: FakeHall, stub: Any) -> None:
    told = pb.RegisterModelRequest(name="m", task="echo", source="/m", details='{"keep_alive": 5}')
    made = await stub.Register(told)
    assert (made.version, made.active, json.loads(made.details)["keep_alive"]) == ("1", True, 5)
    await stub.Register(pb.RegisterModelRequest(name="m", version="2", task="echo", source="/m"))
    chosen = pb.ActivateModelRequest(name="m", version="2", default=True)
    assert (await stub.Activate(chosen)).active
    assert hall.registrar.state.defaults() == {"echo": "m"}
    assert (await stub.Get(pb.GetModelRequest(name="m"))).version == "2"
    fields = pb.UpdateModelRequest(name="m", version="1", fields='{"source": "/n"}', etag=made.etag)
    changed = await stub.Update(fields)
    assert (changed.source, changed.engine) == ("/n", "")
    page = await stub.List(pb.ListModelsRequest(page_size=1))
    assert ([model.name for model in page.models], bool(page.next_page_token)) == (["echo"], True)
    token = page.next_page_token
    page = await stub.List(pb.ListModelsRequest(page_token=token, task="echo"))
    assert [(each.name, each.version) for each in page.models] == [("m", "1"), ("m", "2")]
    assert page.next_page_token == ""
    gone = await stub.Retire(pb.RetireModelRequest(name="m", version="1"))
    assert gone.state == "retired"
    assert (await stub.Get(pb.GetModelRequest(name="m", version="1"))).state == "retired"
    for call, request, status, code in (
        (stub.Update, fields, grpc.StatusCode.NOT_FOUND, "not_found"),
        (stub.Get, pb.GetModelRequest(name="x"), grpc.StatusCode.NOT_FOUND, "not_found"),
        (
            stub.Update,
            pb.UpdateModelRequest(name="m", version="2", fields="{}", etag='"99"'),
            grpc.StatusCode.ABORTED,
            "stale",
        ),
        (
            stub.Register,
            pb.RegisterModelRequest(name="m", version="2", task="t", source="/other"),
            grpc.StatusCode.ABORTED,
            "conflict",
        ),
        (
            stub.Register,
            pb.RegisterModelRequest(name="m", task="t", source="/s", details="[]"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid_input",
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request)
        trailing = dict(caught.value.trailing_metadata() or ())
        assert (caught.value.code(), trailing["modelmora-error-code"]) == (status, code)


@pytest.mark.parametrize("bound", [{"engine": "os:getpid"}, {"options": {"onnx": "/"}}])
async def test_a_caller_names_no_code_and_no_place_of_a_node(
    client: httpx.AsyncClient, bound: dict[str, Any]
) -> None:
    refused = await client.post("/models", json=MODEL | bound)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input")
    assert "counts only in a node's own" in refused.json()["detail"]
    assert (await client.post("/models", json=MODEL)).status_code == 201
    assert (await client.patch(V1, json=bound)).status_code == 400


async def two_versions(client: httpx.AsyncClient) -> None:
    await client.post("/models", json=MODEL)
    await client.post("/models", json=MODEL | {"version": "2"})


ROUTE = {"weights": {"1": 95, "2": 5}, "sticky": "principal"}


async def test_how_a_name_is_answered(hall: FakeHall, client: httpx.AsyncClient) -> None:
    await two_versions(client)
    first = await client.get("/models/m/route")
    assert (first.json()["weights"], first.json()["before"]) == ({"1": 1}, [])
    told = await client.put(
        "/models/m/route", json=ROUTE, headers={"if-match": first.headers["etag"]}
    )
    assert told.status_code == 200
    found = told.json()
    assert {name: found[name] for name in ROUTE} == ROUTE
    assert found["since_ms"] > found["before"][0]["since_ms"] == 0
    assert (await client.get("/models/m/route")).json() == found
    again = await client.put("/models/m/route", json=ROUTE)
    assert again.headers["etag"] == told.headers["etag"], "nothing was written"
    late = await client.put(
        "/models/m/route", json={"weights": {"2": 1}}, headers={"if-match": first.headers["etag"]}
    )
    assert (late.status_code, late.json()["code"]) == (412, "stale")
    both = (await client.get("/routes")).json()["routes"]
    assert [each["name"] for each in both] == ["echo", "m"]
    assert (EventKind.ROUTE_CHANGED, ("m", "1")) in hall.registry.told
    refused = await client.delete("/models/m/versions/2")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("name", "body", "status", "told"),
    [
        ("m", {}, 400, "weights"),
        ("m", {"weights": {"1": 0}}, 400, "above 0"),
        ("m", {"weights": {"1": 1}, "odd": 1}, 400, "odd"),
        ("m", {"weights": {"1": 1}, "sticky": "header:cookie"}, 400, "meaning of its own"),
        ("m", {"weights": {"1": 1, "9": 1}}, 404, "m@9 is not registered"),
        ("x", {"weights": {"1": 1}}, 404, "x@1 is not registered"),
        ("m", [], 400, "an object"),
    ],
)
async def test_a_route_that_cannot_be_is_refused(
    client: httpx.AsyncClient, name: str, body: Any, status: int, told: str
) -> None:
    await two_versions(client)
    answer = await client.put(f"/models/{name}/route", json=body)
    assert answer.status_code == status
    assert told in json.dumps(answer.json())
    assert (await client.get("/models/m/route")).json()["weights"] == {"1": 1}


async def test_a_name_that_nobody_has_chosen_for_is_answered_by_its_lowest(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    record = RegistryRecord(RegistryKind.MODEL, "n", "2", "echo", "/n", "node")
    for version in ("10", "2"):
        hall.registry.write(replace(record, version=version))
    assert (await client.get("/models/n/route")).json() == {
        "name": "n", "weights": {"2": 1}, "sticky": "id", "rules": [], "shadow": {}, "since_ms": 0,
        "before": [], "etag": "",
    }  # fmt: skip
    for name in ("none", "e"):
        answer = await client.get(f"/models/{name}/route")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_route_over_grpc(hall: FakeHall, client: httpx.AsyncClient, stub: Any) -> None:
    await two_versions(client)
    rules = [
        pb.RouteRule(version="2", header="x-cohort", value=""),
        pb.RouteRule(version="1", lane="low"),
    ]
    route = pb.Route(name="m", weights={"1": 1, "2": 3}, rules=rules, shadow={"2": 10})
    known = await stub.GetRoute(pb.GetRouteRequest(name="m"))
    told = await stub.SetRoute(pb.SetRouteRequest(route=route, etag=known.etag))
    assert (dict(told.weights), told.sticky, [*told.rules]) == ({"1": 1, "2": 3}, "id", rules)
    assert dict(told.shadow) == {"2": 10}
    assert dict(told.before[0].weights) == {"1": 1}
    assert told == await stub.GetRoute(pb.GetRouteRequest(name="m"))
    for asked, status in (
        (pb.SetRouteRequest(route=pb.Route(name="m")), grpc.StatusCode.INVALID_ARGUMENT),
        (
            pb.SetRouteRequest(route=pb.Route(name="m", weights={"9": 1})),
            grpc.StatusCode.NOT_FOUND,
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SetRoute(asked)
        assert caught.value.code() is status
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.SetRoute(
            pb.SetRouteRequest(route=pb.Route(name="m", weights={"1": 1}), etag=known.etag)
        )
    assert dict(caught.value.trailing_metadata() or ())["modelmora-error-code"] == "stale"
