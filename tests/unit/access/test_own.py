"""Our own commands over TLS: what they trust, and what they show."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from modelmora.access.certificates import Certificates
from modelmora.access.own import own_of
from modelmora.client.options import Options
from modelmora.errors import ConfigurationError, Unreachable
from modelmora.host.instance import call
from modelmora.settings import Settings
from modelmora.web.server import HttpServer
from tests.authorities import Authority, Pair


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"known": request.scope.get("modelmora.certificate") is not None})


class Served:
    """A door whose certificate is of another name than the address at which it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.pair = self.authority.issue("door", (x509.DNSName("modelmora.example"),))

    def settings(self, **more: Any) -> Settings:
        tls = {"certfile": self.pair.certfile, "keyfile": self.pair.keyfile, **more}
        return Settings.model_validate({"tls": tls})


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


@pytest.fixture
async def url(served: Served) -> AsyncIterator[str]:
    settings = served.settings(client_cafile=served.authority.file)
    own = Certificates(settings.tls)
    server = HttpServer(Starlette(routes=[Route("/", hello)]), "127.0.0.1", 0, own.context())
    host, port = await server.start()
    yield f"https://{host}:{port}"
    await server.stop(0.1)


async def asked(settings: Settings, url: str, *, here: bool) -> Any:
    own = own_of(settings, here=here)
    return await asyncio.to_thread(partial(call, "GET", url + "/", own=own))


async def test_the_door_of_this_machine_is_trusted_by_its_file(served: Served, url: str) -> None:
    assert await asked(served.settings(), url, here=True) == {"known": False}


async def test_another_of_the_same_authority_is_not(served: Served, url: str) -> None:
    other = served.authority.issue("other", (x509.DNSName("modelmora.example"),))
    chain = other.certificate + served.authority.pem
    other.certfile.write_bytes(chain)
    settings = served.settings(certfile=other.certfile, keyfile=other.keyfile)
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        await asked(settings, url, here=True)


async def test_a_door_elsewhere_is_trusted_by_authority_and_name(
    served: Served, url: str, tmp_path: Path
) -> None:
    trusting = Settings.model_validate({"tls": {"own_cafile": served.authority.file}})
    with pytest.raises(Unreachable, match=r"mismatch|not valid for"):
        await asked(trusting, url, here=False)
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        await asked(served.settings(), url, here=False)
    named = served.authority.server("door")  # in its place, of this machine's name
    assert named.certfile == served.pair.certfile
    assert await asked(trusting, url, here=False) == {"known": False}


async def test_what_we_show(served: Served, url: str) -> None:
    mine = served.authority.client("me.example")
    shown = {"own_certfile": mine.certfile, "own_keyfile": mine.keyfile}
    assert await asked(served.settings(**shown), url, here=True) == {"known": True}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"own_certfile": "c.pem"}, "need each other"),
        ({"own_keyfile": "c.key"}, "need each other"),
        ({"own_certfile": "c.pem", "own_keyfile": "c.key"}, "own_certfile c.pem"),
        ({"certfile": "gone.pem"}, "gone.pem cannot be read"),
    ],
)
def test_what_cannot_be_used_is_told(served: Served, more: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        own_of(served.settings(**more), here=True).context()
    assert "\n" not in str(caught.value)


async def serve(pair: Pair, authority: Authority, *, clients: bool) -> tuple[Any, str]:
    server = grpc.aio.server()
    credentials = grpc.ssl_server_credentials(
        [(pair.key, pair.certificate)], authority.pem if clients else None, clients
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)

    async def who(_message: bytes, context: Any) -> bytes:
        return bytes(context.auth_context().get("x509_subject_alternative_name", [b""])[0])

    handler = grpc.method_handlers_generic_handler(
        "t.T", {"Who": grpc.unary_unary_rpc_method_handler(who)}
    )
    server.add_generic_rpc_handlers((handler,))
    await server.start()
    return server, f"127.0.0.1:{port}"


async def test_the_same_over_grpc(served: Served) -> None:
    mine = served.authority.client("me.example")
    server, address = await serve(served.pair, served.authority, clients=True)
    shown = {"own_certfile": mine.certfile, "own_keyfile": mine.keyfile}
    own = own_of(served.settings(**shown), here=True)
    certificate, key = own.contents() or (None, None)
    options = Options(
        tls=True, ca=own.authorities, certificate=certificate, key=key, server_name=own.name()
    )
    try:
        channel = grpc.aio.secure_channel(address, options.credentials(), options.channel)
        async with channel:
            assert await channel.unary_unary("/t.T/Who")(b"", timeout=60) == b"me.example"
        other = served.authority.issue("other", (x509.DNSName("modelmora.example"),))
        wrong = own_of(served.settings(certfile=other.certfile, **shown), here=True)
        doubting = Options(tls=True, ca=wrong.authorities, server_name=wrong.name())
        async with grpc.aio.secure_channel(
            address, doubting.credentials(), doubting.channel
        ) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/t.T/Who")(b"", timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        await server.stop(0)


def test_without_tls_nothing_is_read(tmp_path: Path) -> None:
    own = own_of(Settings(), here=True)
    assert (own.authorities, own.contents(), own.name()) == (None, None, None)
    assert own.context().verify_mode is ssl.CERT_REQUIRED
    assert Options().credentials() is None
