"""Every door is shut to callers without a key, and each call is its own caller's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.protobuf.descriptor_pool import Default
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from starlette.routing import Route

from modelmora.access.files import KeyFile, Keyring
from modelmora.access.issuer import Issuer
from modelmora.access.keys import Keys, made
from modelmora.errors import Unreachable
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.guarded import OPEN_METHODS, OPEN_PATHS
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.guard import Guard
from modelmora.objects.signing import PATH
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from modelmora.settings import OidcSettings, Settings
from modelmora.web.server import HttpServer
from tests.issuers import AUDIENCE, ISSUER
from tests.unit.gateway.fakes import FakeHall

LIMIT = 1_000_000


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile.of(Settings(data_dir=tmp_path))


@pytest.fixture
def keys(file: KeyFile) -> dict[str, str]:
    """The keys of alice, of bob, and one that has expired."""
    texts: dict[str, str] = {}

    def decide(keys: Keys, pepper: bytes) -> Keys:
        for who, expires_at in (("alice", None), ("bob", None), ("carol", 1)):
            texts[who], key = made(keys, who, pepper, 0, expires_at)
            keys = (*keys, key)
        return keys

    file.change(decide)
    return texts


@pytest.fixture(params=["keys", "tokens", "certificates"])
def guard(file: KeyFile, keys: dict[str, str], request: pytest.FixtureRequest) -> Guard:
    """One that knows callers by their keys, and may know them otherwise too."""
    keyring = Keyring(file)
    if request.param == "tokens":
        return Guard(keyring, Issuer(OidcSettings(issuer=ISSUER, audience=AUDIENCE), away))
    return Guard(keyring, certificates="optional" if request.param == "certificates" else "none")


async def away(url: str) -> Any:
    raise Unreachable(f"{url} is away")


@pytest.fixture
async def url(hall: FakeHall, guard: Guard) -> AsyncIterator[str]:
    server = HttpServer(create_app(hall, Metrics(), LIMIT, guard), "127.0.0.1", 0)
    host, port = await server.start()
    yield f"http://{host}:{port}"
    await server.stop(0.1)


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
async def channel(hall: FakeHall, guard: Guard) -> AsyncIterator[Any]:
    server = RpcServer(hall, Metrics(), LIMIT, guard)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_every_route_but_the_open_ones_is_refused(client: httpx.AsyncClient) -> None:
    routes = [
        (method, re.sub(r"\{[^}]*\}", "echo", route.path))
        for route in create_app(FakeHall(), Metrics(), LIMIT).routes
        if isinstance(route, Route)
        for method in route.methods or ()
    ]
    assert len(routes) > 20
    others = [("GET", "/nowhere"), ("OPTIONS", "/"), ("TRACE", "/"), ("GET", "/health/../models")]
    refused = set()
    for method, path in (*routes, *others):
        answer = await client.request(method, path, content=b"x" * 100)
        if path.startswith(PATH):  # a URL that is signed, or is refused for that
            assert answer.status_code == 404, path
        elif path not in OPEN_PATHS:
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer ")
            refused.add(path)
        else:
            assert answer.status_code in (200, 503), path
    assert {path for _, path in routes} - refused == {*OPEN_PATHS, f"{PATH}echo"}
    assert "/objects" in refused


async def test_a_refusal_is_told_in_its_doors_words(client: httpx.AsyncClient) -> None:
    answer = await client.get("/models")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unauthenticated"
    answer = await client.post("/v1/embeddings", json={"model": "echo", "input": "x"})
    assert answer.json()["error"]["code"] == "unauthenticated"
    assert [*(await client.get("/v2/nowhere")).json()] == ["error"]
    assert (await client.get("/modelmora/v1/nowhere")).json()["reason"] == "invalid_request"
    assert (await client.head("/models")).content == b""


async def test_what_is_no_key_of_ours(
    client: httpx.AsyncClient, keys: dict[str, str], hall: FakeHall
) -> None:
    good = f"Bearer {keys['alice']}"
    for given in (
        "",
        "Bearer",
        keys["alice"],
        f"Basic {keys['alice']}",
        good[:-1],
        good + "0",
        f"{good} {good}",
        "Bearer " + "x" * 60_000,
        "Bearer mm_" + "\xff" * 70,
        f"Bearer {keys['carol']}",
    ):
        raw = [(b"authorization", given.encode("latin-1"))]
        answer = await client.post("/infer/echo", content=b'{"inputs": "x"}', headers=raw)
        assert answer.status_code == 401, given[:30]
        assert keys["alice"].rpartition("_")[2][:-1] not in answer.text
    twice = [("authorization", good), ("authorization", f"Bearer {keys['bob']}")]
    assert (await client.get("/models", headers=twice)).status_code == 401
    huge = {"authorization": "Bearer " + "x" * 70_000}
    assert (await client.get("/models", headers=huge)).status_code == 431
    assert not hall.asks
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"authorization": f"{scheme} {keys['alice']}"}
        assert (await client.get("/models", headers=headers)).status_code == 200


async def test_who_is_refused_is_told_to_the_audit_without_what_they_sent(
    file: KeyFile, keys: dict[str, str]
) -> None:
    told: list[tuple[str, str, bool, str]] = []

    def tell(verb: str, principal: str, *, allowed: bool = True, **more: Any) -> None:
        told.append((verb, principal, allowed, more["reason"]))

    guard = Guard(Keyring(file), audit=tell)
    given: tuple[list[str], ...] = (
        [],
        ["Basic x"],
        ["Bearer mm_secret"],
        [f"Bearer {keys['carol']}"],
    )
    for each in given:
        with pytest.raises(Refusal):
            await guard.principal(each)
    assert await guard.principal([f"Bearer {keys['alice']}"]) == "alice"
    assert [each[:3] for each in told] == [("call", "unknown", False)] * len(given)
    assert "has expired" in told[-1][3]
    assert not [each for each in told if "secret" in each[3] or keys["carol"][12:] in each[3]]


async def test_many_callers_at_once_are_told_apart(
    client: httpx.AsyncClient, channel: Any, keys: dict[str, str], hall: FakeHall
) -> None:
    stub = pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]

    async def ask(who: str, number: int) -> None:
        own = bearer(keys[who])
        name, content = f"{who}.{number}", {"inputs": f"{who}.{number}"}
        events = own | {"accept": "text/event-stream"}
        assert (await client.post("/infer/echo", json=content, headers=own)).is_success
        assert (await client.post("/infer/echo", json=content, headers=events)).is_success
        body = {"model": "echo", "messages": [{"role": "user", "content": name}]}
        await client.post("/v1/chat/completions", json=body, headers=own)
        request = pb.InferRequest(model="echo", inputs=[pb.Content(text=name)])
        await stub.Infer(request, metadata=tuple(own.items()))

    await asyncio.gather(*(ask(who, number) for number in range(20) for who in ("alice", "bob")))
    told = [
        (ask.principal, str(getattr(ask.inputs[0], "content", ask.inputs[0]))) for ask in hall.asks
    ]
    assert len(told) == 160
    assert all(name.startswith(f"{who}.") for who, name in told)


async def test_a_job_is_its_own_principals(
    client: httpx.AsyncClient, keys: dict[str, str], hall: FakeHall
) -> None:
    async def submit(who: str) -> str:
        headers = bearer(keys[who]) | {"idempotency-key": "one"}
        answer = await client.post("/infer/echo/async", json={"inputs": who}, headers=headers)
        assert answer.status_code == 202
        return answer.headers["location"]

    alices, bobs = await asyncio.gather(submit("alice"), submit("bob"))
    assert alices != bobs == await submit("bob")
    for where, who, status in (
        (alices, "alice", 200),
        (alices, "bob", 404),
        (bobs, "bob", 200),
        (bobs, "alice", 404),
    ):
        for path in (where, f"{where}?wait_s=1", f"{where}/events", f"{where}/result"):
            answer = await client.get(path, headers=bearer(keys[who]))
            assert answer.status_code == status, path
        assert (await client.delete(where, headers=bearer(keys[who]))).status_code == status


async def test_a_call_that_has_begun_outlives_its_key(
    client: httpx.AsyncClient, file: KeyFile, keys: dict[str, str], hall: FakeHall
) -> None:
    hall.blocked = asyncio.Event()
    own = bearer(keys["alice"]) | {"accept": "text/event-stream"}
    running = asyncio.create_task(
        client.post("/infer/echo", json={"inputs": "x"}, headers=own, timeout=30)
    )
    await hall.entered.wait()
    file.change(lambda keys, _: keys[1:])
    assert (await client.get("/models", headers=own)).status_code == 401
    hall.blocked.set()
    assert "event: result" in (await running).text


async def methods(channel: Any, key: str) -> list[tuple[str, Any]]:
    """Every method of every service that the server tells of."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([asked]), metadata=tuple(bearer(key).items()))
    found = [each.name async for one in call for each in one.list_services_response.service]
    return [
        (f"/{name}/{method.name}", method)
        for name in found
        for method in Default().FindServiceByName(name).methods
    ]


async def test_every_method_but_the_open_ones_is_refused(
    channel: Any, keys: dict[str, str]
) -> None:
    found = await methods(channel, keys["alice"])
    assert len(found) > 10
    shut = {path for path, _ in found} - OPEN_METHODS
    for path in (*shut, "/modelmora.v1.Nothing/AtAll"):
        for given in ((), (("authorization", "Bearer x"),), bearer(keys["carol"]).items()):
            # Nothing is sent: grpc.aio takes an end that comes meanwhile for a fault of its own.
            call = channel.stream_stream(path)(metadata=tuple(given), timeout=10)
            assert await call.code() == grpc.StatusCode.UNAUTHENTICATED, path
            trailing = dict(await call.trailing_metadata() or ())
            assert trailing["modelmora-error-code"] == "unauthenticated"
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert await check(b"", timeout=10)
