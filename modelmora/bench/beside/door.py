"""What doors are measured with: a door of ours before a hall that has its answer.

Run as a process of its own: `python -m modelmora.bench.beside.door KIND BYTES`; `door` is the gRPC
door, `rest` the REST door, and `bare` the barest stream of grpc.aio, of as many bytes in the same
chunks. It says where it is, and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio

from modelmora.gateway.doors.grpc.answers import CHUNK_BYTES
from modelmora.gateway.doors.grpc.inference import SERVICE
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.hall import Ask, Heard
from modelmora.gateway.metrics import Metrics
from modelmora.messages import Content, InferenceResult, Source, Status
from modelmora.records import Registry
from modelmora.web.server import HttpServer

METHOD = "InferServerStream"
REQUEST_BYTES = 1_000_000


class Answered:
    """As much of `hall.Hall` as a call needs: every request is answered with the same output."""

    batches = administration = None
    registrar = SimpleNamespace(state=Registry())

    def __init__(self, output: Content) -> None:
        self._result = InferenceResult(
            "one", Status.COMPLETED, "bytes", "1", Source("", 0, 0), outputs=(output,)
        )

    async def infer(self, _ask: Ask, _heard: Heard | None = None) -> InferenceResult:
        """The output."""
        return self._result

    def hold(self, _size: int, _to: int = 0) -> None:
        """Nothing is counted."""

    def release(self, _size: int) -> None:
        """Nothing is counted."""


def _bytes(size: int) -> bytes:
    """Bytes that lie in memory, as zeros from the system do not."""
    return os.urandom(CHUNK_BYTES) * (size // CHUNK_BYTES)


async def _door(size: int) -> tuple[Any, int]:
    hall: Any = Answered(_bytes(size))
    server = RpcServer(hall, Metrics(), REQUEST_BYTES)
    return server, await server.start("127.0.0.1", 0)


async def _rest(size: int) -> tuple[Any, int]:
    hall: Any = Answered("x" * size)
    server = HttpServer(create_app(hall, Metrics(), REQUEST_BYTES), "127.0.0.1", 0)
    return server, (await server.start())[1]


async def _bare(size: int) -> tuple[Any, int]:
    answer = _bytes(size)

    async def stream(_message: bytes, _context: Any) -> AsyncGenerator[bytes]:
        for at in range(0, size, CHUNK_BYTES):
            yield answer[at : at + CHUNK_BYTES]

    server = grpc.aio.server()
    handlers = {METHOD: grpc.unary_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def serve(kind: str, size: int) -> None:
    """Listen, say where, and serve."""
    # Whoever lets go of the server stops it.
    server, port = await {"door": _door, "rest": _rest, "bare": _bare}[kind](size)
    sys.stdout.write(json.dumps({"port": port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
