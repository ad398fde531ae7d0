"""Hostile callers at a real gateway: what they are told, what it holds, the others meanwhile."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc.aio
import httpx
import pytest

from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from tests.faults.recording import Figures
from tests.nodes import GatewayProcess
from tests.stations import Station

MORE = 50 << 20
"""What a gateway may hold more for all of them."""
CAP_S = 60
HEAD = b"POST /infer/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture(scope="module")
def gateway(station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One of its own: what it holds is measured."""
    folder = tmp_path_factory.mktemp("hostile")
    with GatewayProcess(station.servers, station.namespace, folder) as gateway:
        yield gateway


def memory(pid: int, what: str) -> int:
    """Bytes: VmRSS is what it holds, VmHWM the most since it was forgotten."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) << 10
    raise AssertionError(what)


def forget_peak(pid: int) -> None:
    """Begin VmHWM anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@asynccontextmanager
async def bounded(gateway: GatewayProcess, figures: Figures, hostile: int) -> AsyncIterator[None]:
    """Good callers are answered at both doors meanwhile, and what is held stays bounded.

    Both are counted: what the good ones asked, and how many are hostile.
    """
    pid = gateway.process.pid
    over, served = asyncio.Event(), 0

    async def behave() -> None:
        nonlocal served
        async with (
            httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as rest,
            grpc.aio.insecure_channel(gateway.grpc) as channel,
        ):
            stub = pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
            while not (over.is_set() and served):
                answer = await rest.post("/infer/echo", json={"inputs": "good"})
                assert answer.json()["outputs"] == ["good"], answer.text
                await stub.Infer(pb.InferRequest(model="echo", inputs=[pb.Content(text="good")]))
                served += 1

    async with httpx.AsyncClient(base_url=gateway.http, timeout=CAP_S) as rest:
        await rest.post("/infer/echo", json={"inputs": "warm"})
    before = memory(pid, "VmRSS")
    forget_peak(pid)
    good = asyncio.create_task(behave())
    try:
        yield
    finally:
        over.set()
        async with asyncio.timeout(CAP_S):
            await good
    more = memory(pid, "VmHWM") - before
    assert more <= MORE, f"{more / 2**20:.1f} MiB more"
    figures.add(requests=2 * served, faults=hostile)


def address(gateway: GatewayProcess, door: str) -> tuple[str, int]:
    host, _, port = getattr(gateway, door).rpartition("//")[2].rpartition(":")
    return host, int(port)


async def told(
    gateway: GatewayProcess, say: Callable[[asyncio.StreamWriter], Awaitable[None]]
) -> bytes:
    """The status that a caller reads who says this; it goes on saying it until it is cut off."""
    reader, writer = await asyncio.open_connection(*address(gateway, "http"))

    async def go_on() -> None:
        with suppress(OSError):
            await say(writer)

    saying = asyncio.create_task(go_on())
    try:
        async with asyncio.timeout(3 * CAP_S):
            return (await reader.read(16))[9:12]
    finally:
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
        writer.close()


async def sent(writer: asyncio.StreamWriter) -> None:
    """Wait until it may go on; others have their turn too."""
    await writer.drain()
    await asyncio.sleep(0)


async def flood_head(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while True:
        writer.write(b"X-Field: " + b"a" * 1000 + b"\r\n")
        await sent(writer)


async def flood_body(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 1073741824\r\n\r\n")
    for _ in range(1 << 14):
        writer.write(b" " * (1 << 16))
        await sent(writer)


async def flood_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(1 << 14):
        writer.write(b"10000\r\n" + b" " * (1 << 16) + b"\r\n")
        await sent(writer)


async def dribble_head(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while True:
        writer.write(b"X: a\r\n")
        await sent(writer)
        await asyncio.sleep(0.5)


async def dribble_body(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n" * 10)
        await sent(writer)
        await asyncio.sleep(0.5)


@pytest.mark.row("F23")
@pytest.mark.parametrize(
    ("say", "callers", "status"),
    [
        (flood_head, 50, {b"431"}),
        (flood_body, 20, {b"413"}),
        (flood_chunks, 10, {b"413", b"503"}),
        pytest.param(flood_head, 200, {b"431"}, marks=pytest.mark.faults),
        pytest.param(flood_body, 50, {b"413"}, marks=pytest.mark.faults),
        pytest.param(flood_chunks, 20, {b"413", b"503"}, marks=pytest.mark.faults),
    ],
)
async def test_floods(
    say: Callable[[asyncio.StreamWriter], Awaitable[None]],
    callers: int,
    status: set[bytes],
    gateway: GatewayProcess,
    figures: Figures,
) -> None:
    async with bounded(gateway, figures, callers):
        found = await asyncio.gather(*(told(gateway, say) for _ in range(callers)))
    assert set(found) <= status


@pytest.mark.row("F23")
@pytest.mark.faults
@pytest.mark.parametrize("say", [dribble_head, dribble_body])
async def test_dribbles(
    say: Callable[[asyncio.StreamWriter], Awaitable[None]],
    gateway: GatewayProcess,
    figures: Figures,
) -> None:
    async with bounded(gateway, figures, 500):
        found = await asyncio.gather(*(told(gateway, say) for _ in range(500)))
    assert set(found) == {b"408"}


@pytest.mark.row("F23")
@pytest.mark.faults
@pytest.mark.parametrize("door", ["http", "grpc"])
async def test_ten_thousand_idle_connections(
    door: str, gateway: GatewayProcess, figures: Figures
) -> None:
    writers: list[asyncio.StreamWriter] = []
    try:
        async with bounded(gateway, figures, 10_000):
            for _ in range(100):
                opened = await asyncio.gather(
                    *(asyncio.open_connection(*address(gateway, door)) for _ in range(100)),
                    return_exceptions=True,
                )
                writers += [each[1] for each in opened if not isinstance(each, BaseException)]
            assert len(writers) == 10_000
    finally:
        for writer in writers:
            writer.close()


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """RFC 9113, section 4.1."""
    return (
        struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + body
    )


def literal(name: bytes, value: bytes) -> bytes:
    """A field that no table has (RFC 7541, section 6.2.2); lengths below 127."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def call() -> bytes:
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/modelmora.v1.InferenceService/Infer",
        b":authority": b"x",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    return b"".join(literal(name, value) for name, value in fields.items())


async def reset_rapidly(gateway: GatewayProcess, streams: int) -> None:
    """Open a stream and take it back at once, again and again (CVE-2023-44487)."""
    reader, writer = await asyncio.open_connection(*address(gateway, "grpc"))
    block = call()
    drain = asyncio.create_task(reader.read(-1))
    with suppress(OSError):
        writer.write(PREFACE + frame(4, 0, 0, b""))
        for number in range(1, 2 * streams, 2):
            writer.write(frame(1, 4, number, block) + frame(3, 0, number, struct.pack(">I", 8)))
            await sent(writer)
    drain.cancel()
    await asyncio.gather(drain, return_exceptions=True)
    writer.close()


@pytest.mark.row("F23")
@pytest.mark.parametrize("streams", [5_000, pytest.param(20_000, marks=pytest.mark.faults)])
async def test_rapid_resets(gateway: GatewayProcess, streams: int, figures: Figures) -> None:
    async with bounded(gateway, figures, 5 * streams):
        await asyncio.gather(*(reset_rapidly(gateway, streams) for _ in range(5)))


@pytest.mark.row("F23")
async def test_a_megabyte_of_metadata(gateway: GatewayProcess, figures: Figures) -> None:
    async with bounded(gateway, figures, 50), grpc.aio.insecure_channel(gateway.grpc) as channel:
        stub = pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]

        async def ask() -> grpc.StatusCode:
            request = pb.InferRequest(model="echo", inputs=[pb.Content(text="x")])
            try:
                await stub.Infer(request, metadata=[("x", "a" * (1 << 20))])
            except grpc.aio.AioRpcError as error:
                found: grpc.StatusCode = error.code()
                return found
            return grpc.StatusCode.OK

        found = await asyncio.gather(*(ask() for _ in range(50)))
    assert set(found) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
