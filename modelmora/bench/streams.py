"""What the gRPC door streams a second beside a bare stream, and what slow readers cost it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import Any

import grpc
import grpc.aio

from modelmora.bench.beside.door import METHOD
from modelmora.bench.embedding import alone
from modelmora.bench.report import Figure, at_least, at_most
from modelmora.bench.text import in_turns, ratio
from modelmora.gateway.doors.grpc.answers import CHUNK_BYTES
from modelmora.gateway.doors.grpc.inference import SERVICE
from modelmora.resources import summed_pss
from modelmora.rpc.v1 import inference_pb2 as pb

MB = 1e6
BYTES = 400 * CHUNK_BYTES  # 105 MB
ROUNDS = 5
CLIENTS = (1, 10)
ROADMAP_MB_S = {1: 31.92, 10: 33.31}
SLOW_S = 0.02  # before each chunk
KINDS = ("door", "bare")
DECODED = "decoded"
"""The door, by a caller who decodes its messages; the others count their bytes."""
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)  # each client has a connection of its own


def streams(scale: float) -> list[Figure]:
    """The door alone, before a hall that has its answer: neither topics nor a model are in it."""
    size = max(4, int(BYTES * scale) // CHUNK_BYTES) * CHUNK_BYTES
    module = "modelmora.bench.beside.door"
    with alone(module, "door", str(size)) as door, alone(module, "bare", str(size)) as bare:
        at = {kind: ask("") for kind, ask in zip(KINDS, (door, bare), strict=True)}
        seen = {}
        for clients in CLIENTS:
            rate = partial(_mb_s, size=size, clients=clients)
            asks: dict[str, Callable[[], float]] = {
                kind: partial(rate, kind, at[kind]["port"]) for kind in KINDS
            }
            asks[DECODED] = partial(rate, DECODED, at["door"]["port"])
            for warm in asks.values():
                warm()
            seen[clients] = in_turns(asks, max(1, int(ROUNDS * scale)))
        growth = asyncio.run(_growth_mb(at["door"], size, CLIENTS[-1]))
    return [*_rates(seen), Figure("stream.slow_growth_mb", growth, "MB", at_most(64))]


def _rates(seen: dict[int, dict[str, list[float]]]) -> list[Figure]:
    ratios = {clients: ratio(rates["door"], rates["bare"]) for clients, rates in seen.items()}
    beside = {f"{clients} clients": value for clients, value in ratios.items()}
    return [
        Figure("stream.vs_bare", min(ratios.values()), "ratio", at_least(0.8), beside=beside),
        *(
            Figure(
                f"stream.mb_s_{clients}",
                median(rates[DECODED]),
                "MB/s",
                at_least(10 * ROADMAP_MB_S[clients]),
                ROADMAP_MB_S[clients],
                {
                    "door": median(rates["door"]),
                    "bare": median(rates["bare"]),
                    "roadmap": ROADMAP_MB_S[clients],
                },
            )
            for clients, rates in seen.items()
        ),
    ]


def _mb_s(kind: str, port: int, *, size: int, clients: int) -> float:
    """All that so many clients get a second, each reading the whole on a connection of its own."""

    async def run() -> float:
        async with asyncio.TaskGroup() as group:
            began = time.perf_counter()
            for _ in range(clients):
                group.create_task(_read(kind, port, size))
        return clients * size / MB / (time.perf_counter() - began)

    return asyncio.run(run())


async def _read(kind: str, port: int, size: int, pause_s: float = 0.0) -> None:
    got = 0
    async with _call(kind, port) as call:
        async for message in call:
            got += len(message.chunk.data if kind == DECODED else message)
            if pause_s:
                await asyncio.sleep(pause_s)
    assert got >= size, (got, size)


@asynccontextmanager
async def _call(kind: str, port: int) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as channel:
        deserializer = pb.InferEvent.FromString if kind == DECODED else None
        stream = channel.unary_stream(f"/{SERVICE}/{METHOD}", response_deserializer=deserializer)
        request = pb.InferRequest(model="bytes", inputs=[pb.Content(text="x")])
        yield stream(request.SerializeToString())


async def _growth_mb(at: dict[str, int], size: int, clients: int) -> float:
    """The most that the door's memory grows by while so many read slowly; its answer is there."""
    before = most = summed_pss([at["pid"]])
    async with asyncio.TaskGroup() as group:
        reading = {
            group.create_task(_read(DECODED, at["port"], size, SLOW_S)) for _ in range(clients)
        }
        while any(not task.done() for task in reading):
            most = max(most, summed_pss([at["pid"]]))
            await asyncio.sleep(0.1)
    return (most - before) / MB
