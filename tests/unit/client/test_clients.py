"""Both clients against the gateway's own gRPC door."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from modelmora.client import (
    AsyncClient,
    CallError,
    Client,
    DeadlineExceeded,
    GatewayUnreachable,
    Options,
)
from modelmora.errors import Code, Invalid
from modelmora.gateway.caller import said
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.guard import Guard
from modelmora.messages import Tensor
from modelmora.web.problems import DoorCode
from tests.unit.gateway.fakes import FakeHall

DEAD = "127.0.0.1:1"


@pytest.fixture
async def hall() -> FakeHall:
    return FakeHall()


@pytest.fixture
async def address(hall: FakeHall) -> AsyncIterator[str]:
    server = RpcServer(hall, Metrics(), 1_000_000)
    port = await server.start("127.0.0.1", 0)
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def test_the_next_gateway_is_asked_with_the_same_id(hall: FakeHall, address: str) -> None:
    async with AsyncClient(DEAD, address) as client:
        answer = await client.infer("echo", ["a"], parameters={"n": 1, "s": ("x",)})
    assert [ask.request_id for ask in hall.asks] == [answer.request_id]
    assert hall.asks[0].parameters == {"n": 1, "s": ("x",)}


async def test_headers_go_along_for_a_route_to_look_at(hall: FakeHall, address: str) -> None:
    options = Options(headers={"x-cohort": "beta"}, api_key="k")
    async with AsyncClient(DEAD, address, options=options) as client:
        await client.infer("echo", ["a"])
        _ = [piece async for piece in client.stream("echo", ["a"])]
        await client.submit("echo", ["a"])
    told = [
        (said(ask.headers, "x-cohort"), said(ask.headers, "authorization")) for ask in hall.asks
    ]
    assert told == [("beta", "Bearer k")] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer x"},
        {"X-Cohort": "a"},
        {"": "a"},
        {"x-cohort": "ä"},
        {"x-cohort": "a\nb"},
        {"x-cohort": 5},
        {7: "a"},
    ],
)
def test_a_header_at_which_no_route_looks_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=r"^headers: "):
        Options(headers=headers)


async def test_a_plain_program_is_answered(hall: FakeHall, address: str) -> None:
    def ask() -> str:
        with Client(DEAD, address) as client:
            return client.infer("echo", ["a"]).request_id

    assert await asyncio.to_thread(ask) == hall.asks[0].request_id


def test_a_program_without_logging_is_told_by_errors_alone() -> None:
    ask = (
        "from modelmora.client import Client, Options, GatewayUnreachable\n"
        f"with Client({DEAD!r}, options=Options(attempts=4)) as client:\n"
        "    try:\n"
        "        client.status()\n"
        "    except GatewayUnreachable:\n"
        "        print('caught')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("caught\n", "")


async def test_a_client_that_is_left_with_a_stream_open_complains_of_nothing(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    def leave() -> None:
        with Client(address) as client:
            stream = client.stream("echo", ["a"])
            next(stream)
        with pytest.raises(CallError, match="closed"):
            next(stream)

    await asyncio.to_thread(leave)
    assert caplog.messages == []


async def test_busy_is_tried_again_within_the_attempts(hall: FakeHall, address: str) -> None:
    hall.refusal = Refusal(Code.BUSY, "full", retry_after_ms=1)
    async with AsyncClient(address, options=Options(attempts=3)) as client:
        with pytest.raises(CallError) as caught:
            await client.infer("echo", ["a"])
    assert (caught.value.code, caught.value.retry_after_ms) == ("busy", 1)
    assert len(hall.asks) == 3
    assert len({ask.request_id for ask in hall.asks}) == 1


async def test_what_cannot_help_is_tried_once(hall: FakeHall, address: str) -> None:
    hall.refusal = Refusal(Code.OUT_OF_MEMORY, "too big")
    async with AsyncClient(address) as client:
        with pytest.raises(CallError, match="too big"):
            await client.infer("echo", ["a"])
        with pytest.raises(Invalid):
            await client.infer("echo", "a")
    assert len(hall.asks) == 1


async def test_the_whole_time_bounds_a_call(hall: FakeHall, address: str) -> None:
    hall.blocked = asyncio.Event()
    async with AsyncClient(address) as client:
        with pytest.raises(DeadlineExceeded):
            await client.infer("echo", ["a"], timeout_s=0.3)
    hall.blocked.set()


async def test_nobody_there_is_told() -> None:
    async with AsyncClient(DEAD, options=Options(attempts=2)) as client:
        with pytest.raises(GatewayUnreachable):
            await client.infer("echo", ["a"])


async def test_vectors_are_an_array(hall: FakeHall, address: str) -> None:
    data = struct.pack("<4f", 1, 2, 3, 4)
    hall.outputs = tuple(Tensor("", "FP32", shape, data) for shape in ((4,), (1, 4)))
    async with AsyncClient(address) as client:
        assert (await client.embed("echo", ["a", "b"])).tolist() == [[1, 2, 3, 4]] * 2


def test_no_model_library_and_no_room_of_the_node_is_imported() -> None:
    rooms = ["agents", "engines", "gateway", "node", "scheduling", "serving", "workers"]
    program = (
        "import sys, modelmora.client\n"
        "slow = 'modelmora.settings' in sys.modules\n"
        "import modelmora.client.kafka\n"
        f"bad = {{'torch', 'faust', 'numpy', *('modelmora.' + room for room in {rooms})}}\n"
        "sys.exit(', '.join(bad & set(sys.modules)) or slow)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


async def test_a_wrong_key_is_said_once_and_no_fault_of_the_gateway(hall: FakeHall) -> None:
    class Nobody(Guard):
        async def principal(self, *_: object) -> str:
            raise Refusal(DoorCode.UNAUTHENTICATED, "this key is not known")

    server = RpcServer(hall, Metrics(), 1_000_000, Nobody())
    address = f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
    async with AsyncClient(address, DEAD, options=Options(api_key="wrong")) as client:
        for _ in range(5):
            with pytest.raises(CallError) as caught:
                await client.infer("echo", ["a"])
            assert caught.value.code == "unauthenticated"
    await server.stop(0)


def test_a_client_may_be_made_before_a_fork_and_not_used_before_it() -> None:
    """In a process of its own: a fork of this one would copy the locks of other tests' threads."""
    program = """
import os
from modelmora.client import CallError, Client
from tests.unit.client.doubles import Gateway

served, said = os.pipe(), os.pipe()
server = os.fork()
if server == 0:
    with Gateway() as gateway:
        os.write(served[1], gateway.address.encode())
        os.read(said[0], 1)
    os._exit(0)
address = os.read(served[0], 50).decode()
client = Client(address)

def child(ask):
    pid = os.fork()
    if pid == 0:
        os._exit(ask())
    return os.waitpid(pid, 0)[1]

def forked():
    for each in (client, Client(address)):
        try:
            each.infer("echo", ["a"])
        except CallError as error:
            if error.code != "forked":
                return 1
        else:
            return 1
    return 0

assert child(lambda: client.infer("echo", ["a"]).outputs != ("a",)) == 0
assert client.infer("echo", ["a"]).outputs == ("a",)
assert child(forked) == 0
assert client.infer("echo", ["after"]).outputs == ("after",)
os.write(said[1], b"x")
os.waitpid(server, 0)
"""
    quiet = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, timeout=60, env=quiet
    )
    assert (done.returncode, done.stderr) == (0, b"")
