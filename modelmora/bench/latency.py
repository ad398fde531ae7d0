"""How long one caller waits: REST and gRPC beside the round trip of a bare Faust agent."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Callable
from statistics import median, quantiles
from urllib.parse import urlsplit
from uuid import uuid4

import grpc
import orjson

from modelmora.bench.beside.peers import bare
from modelmora.bench.report import Figure, at_most
from modelmora.bench.stage import PARTITIONS, Stage
from modelmora.rpc.v1 import inference_pb2, inference_pb2_grpc

CALLS = 300
WARM_UP = 50
ROUNDS = 3
TEXT = "x" * 200
PACED_CALLS = 300
PACE_S = 0.02


def latencies(stage: Stage) -> list[Figure]:
    """Median waits of one caller, interleaved, and the tail of the overhead."""
    name = f"bench-rtt-{uuid4().hex[:8]}"
    source, target = stage.topic(f"{name}-in"), stage.topic(f"{name}-out")
    rest, rpc, plain = [], [], []
    with bare(stage, "faust", source, target):
        for _ in range(stage.scaled(ROUNDS)):
            plain.append(asyncio.run(_round_trips(stage, source, target)))
            rest.append(median_ms(rest_caller(stage), stage.scaled(CALLS, 3)))
            rpc.append(median_ms(_rpc_caller(stage), stage.scaled(CALLS, 3)))
    faust_ms = median(plain)
    ratio = at_most(1.7)
    return [
        Figure(
            "rest.p50_vs_faust",
            median(rest) / faust_ms,
            "ratio",
            ratio,
            faust_ms,
            {"rest ms": median(rest), "faust ms": faust_ms},
        ),
        Figure(
            "grpc.p50_vs_faust",
            median(rpc) / faust_ms,
            "ratio",
            ratio,
            faust_ms,
            {"grpc ms": median(rpc), "faust ms": faust_ms},
        ),
        _overhead(stage),
    ]


def rest_caller(stage: Stage) -> Callable[[], float]:
    """A call over one kept-alive connection; returns the inference time it was told, in ms."""
    address = urlsplit(str(stage.run.http))
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    body = orjson.dumps({"inputs": [TEXT]})
    headers = {"Content-Type": "application/json"}

    def call() -> float:
        connection.request("POST", "/infer/echo", body, headers)
        response = connection.getresponse()
        answer = orjson.loads(response.read())
        assert response.status == 200, answer
        return float(answer["timings"]["inference_ms"])

    return call


def _rpc_caller(stage: Stage) -> Callable[[], float]:
    channel = grpc.insecure_channel(str(stage.run.grpc))
    stub = inference_pb2_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
    inputs = [inference_pb2.Content(text=TEXT)]
    request = inference_pb2.InferRequest(model="echo", inputs=inputs)

    def call() -> float:
        return float(stub.Infer(request, timeout=60).timings.inference_ms)

    return call


def median_ms(call: Callable[[], float], calls: int) -> float:
    """How long so many calls take in the median, after some that do not count."""
    for _ in range(min(WARM_UP, calls)):
        call()
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return median(times) * 1000


def _overhead(stage: Stage) -> Figure:
    """The 99th percentile of what REST adds to the model's own time, at 50 calls a second."""
    call = rest_caller(stage)
    added = []
    for _ in range(stage.scaled(PACED_CALLS, 3)):
        began = time.perf_counter()
        inference_ms = call()
        took_s = time.perf_counter() - began
        added.append(took_s * 1000 - inference_ms)
        time.sleep(max(0.0, PACE_S - took_s))
    return Figure(
        "overhead.p99_ms",
        quantiles(added, n=100)[98],
        "ms",
        at_most(100),
        beside={"p50": median(added)},
    )


async def _round_trips(stage: Stage, source: str, target: str) -> float:
    """Median ms from a produce to the reply's arrival, one at a time, aiokafka on this side."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

    servers, calls = stage.bootstrap_servers, stage.scaled(CALLS, 3)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=0)
    await consumer.start()
    await producer.start()
    try:
        partitions = [TopicPartition(target, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for tp in partitions:
            await consumer.position(tp)
        times, warm_up = [], min(WARM_UP, calls)
        for number in range(warm_up + calls):
            began = time.perf_counter()
            await producer.send(source, TEXT.encode(), b"echo")
            await consumer.getone()
            if number >= warm_up:
                times.append(time.perf_counter() - began)
        return median(times) * 1000
    finally:
        await consumer.stop()
        await producer.stop()
