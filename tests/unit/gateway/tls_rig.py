"""Both doors of a gateway over TLS, and callers of them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from modelmora.access.certificates import Certificates
from modelmora.access.files import KeyFile, Keyring
from modelmora.access.keys import made
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.rights.guard import Guard
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from modelmora.settings import Settings, TlsSettings
from modelmora.web.server import HttpServer
from tests.authorities import Authority, Pair
from tests.unit.gateway.fakes import FakeHall

LIMIT = 1_000_000
SPIFFE = "spiffe://mesh.example/ns/web"


@dataclass
class Doors:
    """Both doors of a gateway, and whom to trust there."""

    hall: FakeHall
    https: str
    grpc: str
    folder: Path
    authority: Authority
    clients: Authority
    key: str

    def context(
        self, shown: Pair | None = None, trusted: Authority | None = None
    ) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=(trusted or self.authority).file)
        if shown:
            context.load_cert_chain(shown.certfile, shown.keyfile)
        return context

    async def rest(
        self, shown: Pair | None = None, path: str = "/infer/echo", **given: Any
    ) -> httpx.Response:
        """The answer of REST on a connection of its own."""
        verify = self.context(shown)
        async with httpx.AsyncClient(base_url=self.https, verify=verify, trust_env=False) as client:
            if path.startswith("/infer"):
                return await client.post(path, json={"inputs": "x"}, **given)
            return await client.get(path, **given)

    async def rpc(
        self, shown: Pair | None = None, trusted: bytes | None = None, **given: Any
    ) -> Any:
        """The answer of gRPC on a connection of its own."""
        pair = (shown.key, shown.certificate) if shown else (None, None)
        credentials = grpc.ssl_channel_credentials(trusted or self.authority.pem, *pair)
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.secure_channel(self.grpc, credentials, options) as channel:
            stub = pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
            request = pb.InferRequest(model="echo", inputs=[pb.Content(text="x")])
            return await stub.Infer(request, timeout=60, **given)


Open = Callable[..., Any]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens both doors, with these settings of TLS beside their certificate."""
    async with AsyncExitStack() as stack:

        async def begin(clients: str = "none") -> Doors:
            authority = Authority(tmp_path)
            theirs = Authority(tmp_path, "clients")
            server = authority.server()
            own = {"client_cafile": theirs.file, "clients": clients} if clients != "none" else {}
            given = {"certfile": server.certfile, "keyfile": server.keyfile, **own}
            certificates = Certificates(TlsSettings.model_validate(given))
            keyring, key = keyring_at(tmp_path)
            guard, hall = Guard(keyring, certificates=clients), FakeHall()
            app = create_app(hall, Metrics(), LIMIT, guard)
            http = HttpServer(app, "127.0.0.1", 0, certificates.context())
            host, port = await http.start()
            stack.push_async_callback(http.stop, 0.1)
            rpc = RpcServer(hall, Metrics(), LIMIT, guard, certificates=certificates)
            rpc_port = await rpc.start("127.0.0.1", 0)
            stack.push_async_callback(rpc.stop, 0)
            where = f"https://{host}:{port}", f"127.0.0.1:{rpc_port}"
            return Doors(hall, *where, tmp_path, authority, theirs, key)

        yield begin


def keyring_at(folder: Path) -> tuple[Keyring, str]:
    file, texts = KeyFile.of(Settings(data_dir=folder)), []

    def decide(keys: Any, pepper: bytes) -> Any:
        text, key = made(keys, "alice", pepper, 0)
        texts.append(text)
        return (*keys, key)

    file.change(decide)
    return Keyring(file), texts[0]


def bearer(doors: Doors) -> dict[str, str]:
    return {"authorization": f"Bearer {doors.key}"}


async def refused(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code: grpc.StatusCode = caught.value.code()
    return code
