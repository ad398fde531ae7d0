"""Certificates of both doors that change meanwhile, and those that no door can use."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest

from modelmora.access.certificates import Certificates
from modelmora.errors import ConfigurationError
from modelmora.settings import TlsSettings
from tests.authorities import Authority, Pair
from tests.unit.gateway.tls_rig import Doors, Open, bearer, opened, refused

__all__ = ["opened"]


async def server_at(doors: Doors, address: str) -> bytes:
    """The certificate that is shown there now (DER)."""
    host, _, port = address.removeprefix("https://").rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.decode())


def swap(new: Pair, old: str, folder: Path) -> None:
    """As a tool does that renews certificates: whole files take the place of others."""
    for suffix in ("key", "pem"):
        aside = folder / f"{old}.{suffix}.new"
        shutil.copy(new.certfile.with_suffix(f".{suffix}"), aside)
        aside.replace(folder / f"{old}.{suffix}")


async def test_new_certificates_are_shown_without_a_restart(opened: Open) -> None:
    doors = await opened()
    verify = doors.context()
    async with httpx.AsyncClient(base_url=doors.https, verify=verify, trust_env=False) as staying:
        assert (await staying.get("/health/live")).status_code == 200
        before = {await server_at(doors, at) for at in (doors.https, doors.grpc)}
        swap(new := doors.authority.server("new"), "server", doors.folder)
        after = {await server_at(doors, at) for at in (doors.https, doors.grpc)}
        assert after == {der(new)} != before
        assert (await staying.get("/health/live")).status_code == 200
    assert (await doors.rest(headers=bearer(doors))).status_code == 200


async def test_files_that_cannot_be_used_change_nothing(opened: Open) -> None:
    doors = await opened()
    file = doors.folder / "server.pem"
    good, shown = file.read_bytes(), await server_at(doors, doors.https)
    half = doors.authority.server("half").certificate
    for broken in (b"", b"nothing", good[:100], half, None):
        file.unlink() if broken is None else file.write_bytes(broken)
        for at in (doors.https, doors.grpc):
            assert await server_at(doors, at) == shown
    file.write_bytes(good)
    assert (await doors.rest(headers=bearer(doors))).status_code == 200


async def test_authorities_that_are_taken_away_vouch_for_nobody(
    opened: Open, tmp_path: Path
) -> None:
    doors = await opened("required")
    old, later = doors.clients.client("web.example"), Authority(tmp_path, "later")
    new = later.client("next.example")
    assert (await doors.rest(old)).status_code == 200
    await doors.rpc(old)
    doors.clients.file.write_bytes(doors.clients.pem + later.pem)
    for shown in (old, new):
        assert (await doors.rest(shown)).status_code == 200
        await doors.rpc(shown)
    doors.clients.file.write_bytes(later.pem)
    assert (await doors.rest(new)).status_code == 200
    await doors.rpc(new)
    with pytest.raises(httpx.TransportError):
        await doors.rest(old)
    assert await refused(doors.rpc(old)) is grpc.StatusCode.UNAVAILABLE


async def test_a_body_that_nobody_reads_is_answered(opened: Open) -> None:
    """The answer comes though the body does not; TLS cannot end one side alone."""
    doors = await opened()
    host, port = doors.https.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=doors.context())
    writer.write(b"POST /infer/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\nx")
    async with asyncio.timeout(60):
        assert b" 401 " in await reader.readuntil(b"\r\n")
        assert b"unauthenticated" in await reader.read()
    writer.close()


@pytest.mark.parametrize("broken", ["certfile", "keyfile", "client_cafile"])
@pytest.mark.parametrize("how", ["gone", "empty", "other"])
def test_what_no_door_can_use_is_told_in_a_line(tmp_path: Path, broken: str, how: str) -> None:
    authority = Authority(tmp_path)
    server = authority.server()
    paths = {
        "certfile": server.certfile,
        "keyfile": server.keyfile,
        "client_cafile": authority.file,
    }
    match how:
        case "gone":
            paths[broken].unlink()
        case "empty":
            paths[broken].write_bytes(b"")
        case "other":
            paths[broken].write_bytes(authority.server("more").key)
    with pytest.raises(ConfigurationError, match=rf"tls\.{broken}|{paths[broken]}") as caught:
        Certificates(TlsSettings.model_validate(paths))
    assert "\n" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


def test_a_key_that_is_encrypted_is_asked_nobody_for(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    server = Authority(tmp_path).server()
    key = serialization.load_pem_private_key(server.key, None)
    server.keyfile.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigurationError, match="not be encrypted"):
        Certificates(TlsSettings(certfile=server.certfile, keyfile=server.keyfile))
