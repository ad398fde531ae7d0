"""How much later than its model says it a token is with its caller, over gRPC and over REST."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

import grpc
import orjson

from modelmora.bench.report import Figure, at_most
from modelmora.bench.stage import Stage
from modelmora.bench.text import in_turns
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc
from modelmora.web.events import EVENTS

TOKENS = 200
STEP_MS = 20.0
ROUNDS = 3
MODEL = "count"


def tokens(stage: Stage) -> list[Figure]:
    """The model's words are the moments at which it says them, by the clock of all processes."""
    told = {"words": stage.scaled(TOKENS, 4), "ms": STEP_MS, "clock": True}
    doors: Mapping[str, Callable[[], list[float]]] = {
        "grpc": lambda: _lags(_by_rpc(stage, told)),
        "rest": lambda: _lags(_by_rest(stage, told)),
    }
    for warm in doors.values():
        warm()
    seen = in_turns(doors, stage.scaled(ROUNDS))
    lags = {door: [ms for each in found for ms in each] for door, found in seen.items()}
    medians = {f"{door} p50": median(found) for door, found in lags.items()}
    beside = medians | {f"{door} p99": quantiles(found, n=100)[98] for door, found in lags.items()}
    worst = max(medians.values())
    return [Figure("stream.token_added_ms", worst, "ms", at_most(10), beside=beside)]


def _lags(texts: Iterator[str]) -> list[float]:
    """Milliseconds from the moment that each word tells until it is here."""
    lags, rest = list[float](), ""
    for text in texts:
        now = time.monotonic_ns()
        *words, rest = (rest + text).split(" ")
        lags.extend((now - int(word)) / 1e6 for word in words)
    return lags


def _by_rpc(stage: Stage, told: Mapping[str, Any]) -> Iterator[str]:
    parameters = {name: _parameter(value) for name, value in told.items()}
    request = pb.InferRequest(model=MODEL, inputs=[pb.Content(text="x")], parameters=parameters)
    with grpc.insecure_channel(str(stage.run.grpc)) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        for event in stub.InferServerStream(request, timeout=60):
            if event.progress.text:
                yield event.progress.text


def _parameter(value: Any) -> pb.Parameter:
    kind = f"{'double' if isinstance(value, float) else type(value).__name__}_value"
    return pb.Parameter(**{kind: value})


def _by_rest(stage: Stage, told: Mapping[str, Any]) -> Iterator[str]:
    address = urlsplit(str(stage.run.http))
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    body = orjson.dumps({"inputs": ["x"], "parameters": told})
    headers = {"content-type": "application/json", "accept": EVENTS}
    connection.request("POST", f"/infer/{MODEL}", body, headers)
    with connection.getresponse() as response:
        for line in response:
            if line.startswith(b"data: {") and (text := orjson.loads(line[6:]).get("text")):
                yield text
    connection.close()
