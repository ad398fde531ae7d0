"""Both doors over TLS: who is let in by a certificate."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
from cryptography import x509

from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from tests.authorities import CLIENT, Authority
from tests.unit.gateway.tls_rig import SPIFFE, Open, bearer, opened, refused

__all__ = ["opened"]


async def test_keys_over_tls(opened: Open) -> None:
    doors = await opened()
    own = bearer(doors)
    assert (await doors.rest(headers=own)).status_code == 200
    await doors.rpc(metadata=tuple(own.items()))
    assert [ask.principal for ask in doors.hall.asks] == ["alice", "alice"]
    assert (await doors.rest()).status_code == 401
    assert await refused(doors.rpc()) is grpc.StatusCode.UNAUTHENTICATED


async def test_callers_see_who_they_speak_to(opened: Open, tmp_path: Path) -> None:
    doors = await opened()
    other = Authority(tmp_path, "other")
    doors.authority, own = other, doors.authority
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await doors.rest()
    assert await refused(doors.rpc(trusted=other.pem)) is grpc.StatusCode.UNAVAILABLE
    doors.authority = own
    assert (await doors.rest(headers=bearer(doors))).status_code == 200


@pytest.mark.parametrize("door", ["https", "grpc"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_nothing_below_tls_1_2(opened: Open, door: str, version: ssl.TLSVersion) -> None:
    doors = await opened()
    host, _, port = getattr(doors, door).removeprefix("https://").rpartition(":")
    context = doors.context()
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this side would not even try
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2" if door == "grpc" else "http/1.1"])
    if version is ssl.TLSVersion.TLSv1_1:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(host, int(port), ssl=context)
    else:
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        writer.close()


async def test_what_is_not_encrypted_is_not_answered(opened: Open) -> None:
    doors = await opened()
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.HTTPError):
            await client.get(doors.https.replace("https", "http") + "/health")
    async with grpc.aio.insecure_channel(doors.grpc) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await refused(check(b"", timeout=30)) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_says_who_calls(opened: Open) -> None:
    doors = await opened("required")
    for name in ("web.example", SPIFFE):
        shown = doors.clients.client(name)
        assert (await doors.rest(shown)).status_code == 200
        await doors.rpc(shown)
        assert [ask.principal for ask in doors.hall.asks] == [name, name]
        doors.hall.asks.clear()


async def test_what_a_call_says_goes_before_its_certificate(opened: Open) -> None:
    doors = await opened("required")
    shown, own = doors.clients.client("proxy.example"), bearer(doors)
    assert (await doors.rest(shown, headers=own)).status_code == 200
    await doors.rpc(shown, metadata=tuple(own.items()))
    assert [ask.principal for ask in doors.hall.asks] == ["alice", "alice"]
    wrong = {"authorization": f"Bearer {doors.key[:-1]}x"}
    assert (await doors.rest(shown, headers=wrong)).status_code == 401
    code = await refused(doors.rpc(shown, metadata=tuple(wrong.items())))
    assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_where_one_is_needed_a_key_is_not_enough(opened: Open) -> None:
    doors = await opened("required")
    answer = await doors.rest(headers=bearer(doors))
    assert answer.status_code == 401
    assert "client certificate" in answer.json()["detail"]
    for path in ("/health/live", "/health/started"):
        assert (await doors.rest(path=path)).status_code == 200, "probes have none"
    metadata = tuple(bearer(doors).items())
    assert await refused(doors.rpc(metadata=metadata)) is grpc.StatusCode.UNAVAILABLE
    assert not doors.hall.asks


async def test_where_none_is_needed_keys_do_too(opened: Open) -> None:
    doors = await opened("optional")
    assert (await doors.rest(headers=bearer(doors))).status_code == 200
    assert (await doors.rest(doors.clients.client("web.example"))).status_code == 200
    assert [ask.principal for ask in doors.hall.asks] == ["alice", "web.example"]
    await doors.rpc(metadata=tuple(bearer(doors).items()))
    answer = await doors.rest()
    assert answer.status_code == 401
    assert "certificate" in answer.json()["detail"]
    assert await refused(doors.rpc()) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("clients", ["required", "optional"])
async def test_certificates_that_let_nobody_in(opened: Open, tmp_path: Path, clients: str) -> None:
    doors = await opened(clients)
    strangers = Authority(tmp_path, "strangers").client("web.example")
    expired = doors.clients.client("late.example", timedelta(hours=-1))
    servers = doors.clients.issue("purpose", (x509.DNSName("web.example"),))
    for shown in (strangers, expired, servers):
        with pytest.raises(httpx.TransportError):
            await doors.rest(shown)
        if clients == "required":
            assert await refused(doors.rpc(shown)) is grpc.StatusCode.UNAVAILABLE
    assert not doors.hall.asks


@pytest.mark.parametrize(
    "names",
    [
        (),
        (x509.DNSName("*.example"),),
        (x509.DNSName("local"),),
        (x509.UniformResourceIdentifier("topic:web"), x509.DNSName("web.example")),
    ],
)
async def test_certificates_of_nobody(opened: Open, names: tuple[x509.GeneralName, ...]) -> None:
    doors = await opened("required")
    shown = doors.clients.issue("nobody", names, purposes=CLIENT)
    answer = await doors.rest(shown)
    assert answer.status_code == 401
    assert "certificate" in answer.json()["detail"]
    assert await refused(doors.rpc(shown)) is grpc.StatusCode.UNAUTHENTICATED


async def test_every_method_is_behind_the_certificate(opened: Open) -> None:
    doors = await opened("required")
    shown = doors.clients.issue("nobody", (), purposes=CLIENT)
    credentials = grpc.ssl_channel_credentials(doors.authority.pem, shown.key, shown.certificate)
    paths = ["/modelmora.v1.InferenceService/InferStream", "/modelmora.v1.Nothing/AtAll"]
    paths += ["/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
    async with grpc.aio.secure_channel(doors.grpc, credentials) as channel:
        for path in paths:
            call = channel.unary_stream(path)(b"", timeout=60)
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED, path
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await health(b"", timeout=60)


async def test_streams_and_reflection_by_certificate(opened: Open) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    doors = await opened("required")
    shown = doors.clients.client("web.example")
    credentials = grpc.ssl_channel_credentials(doors.authority.pem, shown.key, shown.certificate)
    async with grpc.aio.secure_channel(doors.grpc, credentials) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        told = [one async for one in stub.ServerReflectionInfo(iter([asked]), timeout=60)]
        assert len(told[0].list_services_response.service) > 3
        nothing = channel.stream_stream("/modelmora.v1.Nothing/AtAll")(timeout=60)
        assert await nothing.code() is grpc.StatusCode.UNIMPLEMENTED
        infer = pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        request = pb.InferRequest(model="echo", inputs=[pb.Content(text="x")])
        assert [piece async for piece in infer.InferServerStream(request, timeout=60)]
        assert [piece async for piece in infer.InferStream(iter([request]), timeout=60)]
    assert {ask.principal for ask in doors.hall.asks} == {"web.example"}


async def test_a_certificate_that_expires_on_an_open_connection(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = await opened("required")
    verify = doors.context(doors.clients.client("web.example"))
    async with httpx.AsyncClient(base_url=doors.https, verify=verify, trust_env=False) as client:
        assert (await client.get("/models")).status_code == 200
        later = time.time_ns() + int(timedelta(days=2).total_seconds() * 1e9)
        monkeypatch.setattr("modelmora.gateway.rights.guard.time.time_ns", lambda: later)
        answer = await client.get("/models")
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]
