"""Tokens of an issuer at both doors, over HTTP from a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from modelmora.access.files import KeyFile
from modelmora.access.issuer import DISCOVERY, MOST_BYTES, issuer_of
from modelmora.access.keys import made
from modelmora.errors import ConfigurationError
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.rights.guard import Guard, guard_of
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from modelmora.settings import Settings
from modelmora.web.server import HttpServer
from tests.authorities import Authority
from tests.issuers import AUDIENCE, TestIssuer
from tests.unit.gateway.fakes import FakeHall

LIMIT = 1_000_000


class Realm:
    """An issuer on this machine: what it publishes may be changed, and it may be broken."""

    def __init__(self) -> None:
        self.issued = TestIssuer()
        self.broken: Response | None = None
        self.app = Starlette(
            routes=[Route("/realm" + DISCOVERY, self.discovery), Route("/keys", self.keys)]
        )

    async def discovery(self, request: Request) -> Response:
        return JSONResponse({"issuer": self.issued.url, "jwks_uri": self.keys_at})

    async def keys(self, request: Request) -> Response:
        return self.broken or JSONResponse(self.issued.jwks())

    def at(self, base: str) -> None:
        self.issued.url, self.keys_at = f"{base}/realm", f"{base}/keys"


@pytest.fixture
async def realm() -> AsyncIterator[Realm]:
    made_up = Realm()
    server = HttpServer(made_up.app, "127.0.0.1", 0)
    host, port = await server.start()
    made_up.at(f"http://{host}:{port}")
    yield made_up
    await server.stop(0.1)


def settings_for(realm: Realm, folder: Path, **more: Any) -> Settings:
    oidc = {"issuer": realm.issued.url, "audience": AUDIENCE, **more}
    return Settings.model_validate({"data_dir": folder, "oidc": oidc})


@pytest.fixture
async def guard(realm: Realm, tmp_path: Path) -> AsyncIterator[Guard]:
    guard = guard_of(settings_for(realm, tmp_path))
    guard.begin()
    yield guard
    await guard.close()


@pytest.fixture
async def rest(hall: FakeHall, guard: Guard) -> AsyncIterator[httpx.AsyncClient]:
    server = HttpServer(create_app(hall, Metrics(), LIMIT, guard), "127.0.0.1", 0)
    host, port = await server.start()
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
        yield client
    await server.stop(0.1)


@pytest.fixture
async def stub(hall: FakeHall, guard: Guard) -> AsyncIterator[Any]:
    server = RpcServer(hall, Metrics(), LIMIT, guard)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
    await server.stop(0)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def rpc(stub: Any, token: str) -> Any:
    request = pb.InferRequest(model="echo", inputs=[pb.Content(text="x")])
    return await stub.Infer(request, metadata=tuple(bearer(token).items()), timeout=60)


async def test_a_token_says_who_calls(
    rest: httpx.AsyncClient, stub: Any, hall: FakeHall, realm: Realm
) -> None:
    for alg in ("RS256", "ES256", "EdDSA"):
        token = realm.issued.token(alg, sub=alg)
        answer = await rest.post("/infer/echo", json={"inputs": "x"}, headers=bearer(token))
        assert answer.status_code == 200
        await rpc(stub, token)
    told = [ask.principal for ask in hall.asks]
    assert told == ["RS256", "RS256", "ES256", "ES256", "EdDSA", "EdDSA"]


async def test_what_does_not_hold_is_refused_at_both_doors(
    rest: httpx.AsyncClient, stub: Any, hall: FakeHall, realm: Realm
) -> None:
    issued = realm.issued
    tokens = [
        issued.unsigned(),
        issued.confused(bytes(issued.keys["RS256"].as_pem(private=False))),
        issued.token(header={"kid": "other"}),
        issued.token(exp=1),
        issued.token(aud="other"),
        TestIssuer(issued.url).token(),
        "x",
        "mm_00000000_" + 64 * "0",
    ]
    for token in tokens:
        answer = await rest.get("/models", headers=bearer(token))
        assert answer.status_code == 401, token
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert token not in answer.text or token == "x"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc(stub, token)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    answer = await rest.get("/models")
    assert answer.status_code == 401
    assert "a token" in answer.json()["detail"]
    assert not hall.asks


async def test_keys_hold_beside_tokens_from_their_first_on(
    rest: httpx.AsyncClient, hall: FakeHall, tmp_path: Path, guard: Guard
) -> None:
    """No key is needed to start where there are tokens; one that is made later lets in."""
    texts = []

    def decide(keys: Any, pepper: bytes) -> Any:
        text, key = made(keys, "bob", pepper, 0)
        texts.append(text)
        return (*keys, key)

    KeyFile.of(Settings(data_dir=tmp_path)).change(decide)
    answer = await rest.post("/infer/echo", json={"inputs": "x"}, headers=bearer(texts[0]))
    assert answer.status_code == 200
    assert hall.asks[0].principal == "bob"


@pytest.mark.parametrize(
    "broken",
    [
        Response(status_code=500),
        Response("no JSON"),
        Response(b"[" + b"1," * MOST_BYTES + b"1]"),
        RedirectResponse("/elsewhere"),
        JSONResponse({"keys": "none"}),
    ],
    ids=["fails", "no JSON", "too much", "moved", "no keys"],
)
async def test_an_issuer_that_fails_is_no_fault_of_the_caller(
    realm: Realm, tmp_path: Path, broken: Response
) -> None:
    realm.broken = broken
    hall = FakeHall()
    guard = guard_of(settings_for(realm, tmp_path))
    server = HttpServer(create_app(hall, Metrics(), LIMIT, guard), "127.0.0.1", 0)
    host, port = await server.start()
    door = RpcServer(hall, Metrics(), LIMIT, guard)
    rpc_port = await door.start("127.0.0.1", 0)
    try:
        token = realm.issued.token()
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
            answer = await client.get("/models", headers=bearer(token), timeout=60)
        assert answer.status_code == 503
        assert answer.json()["code"] == "issuer_unreachable"
        assert int(answer.headers["retry-after"]) > 0
        async with grpc.aio.insecure_channel(f"127.0.0.1:{rpc_port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rpc(pb_grpc.InferenceServiceStub(channel), token)  # type: ignore[no-untyped-call]
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        await guard.close()
        await server.stop(0.1)
        await door.stop(0)
    assert not hall.asks


async def test_an_issuer_behind_tls_is_one_that_we_trust(tmp_path: Path) -> None:
    authority, realm = Authority(tmp_path), Realm()
    pair = authority.server()
    from modelmora.access.certificates import Certificates
    from modelmora.settings import TlsSettings

    own = Certificates(TlsSettings(certfile=pair.certfile, keyfile=pair.keyfile))
    server = HttpServer(realm.app, "127.0.0.1", 0, own.context())
    _, port = await server.start()
    realm.at(f"https://localhost:{port}")
    try:
        trusting = issuer_of(settings_for(realm, tmp_path, cafile=authority.file))
        assert trusting
        assert await trusting.principal(realm.issued.token()) == "alice"
        other = issuer_of(settings_for(realm, tmp_path))
        assert other
        with pytest.raises(Exception, match="cannot be had"):
            await other.principal(realm.issued.token())
        await trusting.close()
        await other.close()
    finally:
        await server.stop(0.1)


def test_an_authority_that_cannot_be_read_is_told(realm: Realm, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"oidc\.cafile"):
        guard_of(settings_for(realm, tmp_path, cafile=tmp_path / "none.pem"))
