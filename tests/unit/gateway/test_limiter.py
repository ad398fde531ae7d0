"""Budgets at the doors: who has used theirs up is told when to come again, in every protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from prometheus_client import generate_latest

from modelmora.access.budgets import Buckets
from modelmora.errors import Code
from modelmora.gateway.doors.grpc.server import RpcServer
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.hall import Ask
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal, refusal_of
from modelmora.gateway.rights.limiter import Limiter
from modelmora.gateway.rights.permits import EVERYTHING
from modelmora.gateway.rights.permitted import Permitted
from modelmora.messages import ErrorInfo, InferenceResult, Source, Status, Timings
from modelmora.rpc.v1 import inference_pb2 as pb
from modelmora.rpc.v1 import inference_pb2_grpc as pb_grpc
from modelmora.settings import AccessSettings
from tests.unit.gateway.fakes import FakeHall

LIMIT = 1_000_000
SLOW = {"amount": 2, "per": "minute"}


class Rig:
    """A hall whose callers have budgets."""

    def __init__(self, **budgets: Any) -> None:
        told = AccessSettings.model_validate({"budgets": budgets})
        self.buckets = Buckets(told.budgets)
        self.now = 100.0
        self.limiter = Limiter(self.buckets, monotonic=lambda: self.now)
        self.hall = FakeHall()
        self.hall.registry.register("texts", "txt2txt")
        self.hall.answers["texts"] = ("out",)
        self.hall.registry.register("vectors", "txt2embed")
        self.metrics = Metrics()
        self.open = Permitted(self.hall, EVERYTHING, self.metrics, self.limiter)

    def left(self, name: str) -> float:
        (bucket,) = (each for each in self.buckets if each.name == name)
        return bucket.left(bucket.at)

    def client(self) -> httpx.AsyncClient:
        app = create_app(self.open, self.metrics, LIMIT)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway")


@pytest.fixture
def rig() -> Rig:
    return Rig(few={"requests": SLOW})


async def test_over_rest(rig: Rig) -> None:
    async with rig.client() as client:
        body = {"inputs": "x"}
        first = await client.post("/infer/echo", json=body)
        assert first.status_code == 200
        assert first.headers["ratelimit-policy"] == '"few.requests";q=2;qu="requests";w=60'
        assert first.headers["ratelimit"] == '"few.requests";r=1;t=30'
        assert (await client.post("/infer/echo/async", json=body)).status_code == 202
        refused = await client.post("/infer/echo", json=body)
        told = refused.json()
        assert (refused.status_code, told["code"]) == (429, "rate_limited")
        detail = "the budget few of 2 requests a minute is used up; try again in 30 s"
        assert told["detail"] == detail
        assert (refused.headers["retry-after"], told["retry_after_ms"]) == ("30", 30_000)
        assert refused.headers["ratelimit"] == '"few.requests";r=0;t=60'
        assert "ratelimit" not in (await client.get("/models")).headers
    assert len(rig.hall.asks) == 2
    counted = 'modelmora_gateway_requests_total{code="rate_limited",door="rest"} 1.0'
    assert counted in generate_latest(rig.metrics.registry).decode()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "texts", "prompt": "x"}),
        ("/v1/completions", {"model": "texts", "prompt": "x", "stream": True}),
        ("/api/generate", {"model": "texts", "prompt": "x", "stream": False}),
        (
            "/v2/models/echo/infer",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]},
        ),
        ("/infer/texts/async", {"inputs": "x"}),
    ],
)
async def test_over_every_http_door(rig: Rig, path: str, body: dict[str, Any]) -> None:
    for _ in range(2):
        await rig.open.infer(Ask("rest", "texts", ("x",)))
    async with rig.client() as client:
        refused = await client.post(path, json=body)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "30"
    assert refused.headers["ratelimit"] == '"few.requests";r=0;t=60'
    assert "is used up" in refused.text


@pytest.fixture
async def stub(rig: Rig) -> AsyncIterator[Any]:
    server = RpcServer(rig.open, rig.metrics, LIMIT)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]
    await server.stop(0)


async def test_over_grpc(rig: Rig, stub: Any) -> None:
    request = pb.InferRequest(model="echo", inputs=[pb.Content(text="x")])
    for _ in range(2):
        await stub.Infer(request, timeout=30)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Infer(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(caught.value.trailing_metadata() or ())
    assert trailing["modelmora-error-code"] == "rate_limited"
    assert trailing["modelmora-retry-after-ms"] == "30000"
    status = rpc_status.from_call(caught.value)
    (packed,) = (each for each in status.details if each.Is(RetryInfo.DESCRIPTOR))
    told = RetryInfo()
    packed.Unpack(told)
    assert told.retry_delay.ToMilliseconds() == 30_000


async def test_without_budgets_nothing_is_told() -> None:
    rig = Rig()
    async with rig.client() as client:
        for _ in range(5):
            answer = await client.post("/infer/echo", json={"inputs": "x"})
            assert answer.status_code == 200
            assert not [each for each in answer.headers if each.startswith("ratelimit")]
    assert [*rig.buckets] == []


async def test_an_outcome_settles_what_was_charged() -> None:
    rig = Rig(all={"tokens": {"amount": 1000}, "device_ms": {"amount": 1000}})
    rig.hall.settings = {"prompt_tokens": 5, "completion_tokens": 20}
    ask = Ask("rest", "echo", ("x" * 400,), {"max_tokens": 500})
    rig.hall.blocked = asyncio.Event()
    running = asyncio.create_task(rig.open.infer(ask))
    await rig.hall.entered.wait()
    assert (rig.left("all.tokens"), rig.left("all.device_ms")) == (400, 999)
    rig.hall.blocked.set()
    await running
    assert rig.left("all.tokens") == pytest.approx(975)
    assert rig.left("all.device_ms") == pytest.approx(997)


@pytest.mark.parametrize(
    ("code", "ran_ms", "left"),
    [
        (Code.BUSY, 0, (10, 100, 1000)),  # nobody had room
        (Code.INVALID_INPUT, 0, (9, 100, 1000)),
        (Code.INFERENCE_FAILED, 600, (9, 100, 400)),
        (Code.EXPIRED, 600, (9, 100, 400)),
        (Code.EXPIRED, 0, (9, 90, 999)),  # it may have run
        (Code.CANCELLED, 0, (9, 90, 999)),
    ],
)
async def test_what_ended_without_a_result(
    code: Code, ran_ms: float, left: tuple[int, int, int]
) -> None:
    amounts = {"requests": 10, "tokens": 100, "device_ms": 1000}
    rig = Rig(b={unit: {"amount": each, "burst": each} for unit, each in amounts.items()})
    rig.hall.refusal = refusal_of(
        InferenceResult(
            "id",
            Status.FAILED,
            "echo",
            "1",
            Source("t", 0, 0),
            error=ErrorInfo(code, "so"),
            timings=Timings(inference_ms=ran_ms),
        )
    )
    with pytest.raises(Refusal):
        await rig.open.infer(Ask("rest", "echo", (b"",), {"max_tokens": 10}))
    found = tuple(rig.left(f"b.{unit}") for unit in amounts)
    assert found == pytest.approx(left)


async def test_a_job_is_settled_by_its_outcome_and_nobody_elses() -> None:
    rig = Rig(b={"device_ms": {"amount": 1000}})
    job = await rig.open.submit(Ask("rest", "echo", ("x",)))
    ended = InferenceResult(
        job.request_id,
        Status.COMPLETED,
        "echo",
        "1",
        Source("t", 0, 0),
        timings=Timings(inference_ms=800),
    )
    rig.limiter.passed(ended, "mallory")
    assert rig.left("b.device_ms") == 999
    for _ in range(2):
        rig.limiter.passed(ended, "local")
    assert rig.left("b.device_ms") == pytest.approx(200)


async def test_what_others_do_not_know_waits_until_they_do() -> None:
    rig = Rig(b={"requests": {"amount": 20}})
    rig.buckets.others = 1
    waited = []

    async def told(most_s: float) -> None:
        waited.append(most_s)
        for each in rig.buckets.tell(rig.now):
            rig.buckets.landed(each.bucket, each.spent)

    rig.open = Permitted(
        rig.hall, EVERYTHING, rig.metrics, Limiter(rig.buckets, told, lambda: rig.now)
    )
    for _ in range(20):
        await rig.open.infer(Ask("rest", "echo", ("x",)))
    assert len(waited) == 19
    with pytest.raises(Refusal, match="is used up"):
        await rig.open.infer(Ask("rest", "echo", ("x",)))


async def test_a_topic_that_takes_nothing_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelmora.gateway.rights.limiter.WAIT_S", 0.05)
    rig = Rig(b={"requests": {"amount": 20}})
    rig.buckets.others = 1

    async def told(most_s: float) -> None:
        await asyncio.sleep(most_s)

    limiter = Limiter(rig.buckets, told)
    ask = Ask("rest", "echo", ("x",))
    assert await limiter.charge(ask)
    with pytest.raises(Refusal, match="others are not told") as caught:
        await limiter.charge(ask)
    assert (caught.value.code, caught.value.retry_after_ms) == (Code.RATE_LIMITED, 1000)


async def test_a_job_that_has_ended_before_it_is_followed_is_settled() -> None:
    rig = Rig(b={"device_ms": {"amount": 1000}})
    ask = Ask("rest", "echo", ("x",))
    charge = await rig.limiter.charge(ask)
    ended = InferenceResult(
        "j", Status.COMPLETED, "echo", "1", Source("t", 0, 0), timings=Timings(inference_ms=800)
    )
    rig.limiter.passed(ended, "local")
    assert rig.left("b.device_ms") == 999
    rig.limiter.follow(ask, "j", charge)
    rig.limiter.passed(ended, "local")
    assert rig.left("b.device_ms") == pytest.approx(200)


async def test_what_another_of_its_id_has_run_for_costs_nothing() -> None:
    rig = Rig(b={"requests": {"amount": 10}, "device_ms": {"amount": 1000}})
    asks = [Ask("rest", "echo", ("x",), request_id="i") for _ in range(3)]
    asks[0].course.spared = True
    await rig.open.infer(asks[0])
    asks[1].course.spared = True
    await rig.open.submit(asks[1])
    rig.hall.refusal = Refusal(Code.INFERENCE_FAILED, "so")
    asks[2].course.spared = True
    with pytest.raises(Refusal, match="so"):
        await rig.open.infer(asks[2])
    assert (rig.left("b.requests"), rig.left("b.device_ms")) == (10, 1000)


async def test_a_job_whose_caller_is_gone_is_settled_when_it_ends() -> None:
    rig = Rig(b={"device_ms": {"amount": 1000}})
    rig.hall.blocked = asyncio.Event()
    ask = Ask("rest", "echo", ("x",), request_id="j", job=True)
    running = asyncio.create_task(rig.open.infer(ask))
    await rig.hall.entered.wait()
    running.cancel()
    await asyncio.wait([running])
    ended = InferenceResult(
        "j", Status.COMPLETED, "echo", "1", Source("t", 0, 0), timings=Timings(inference_ms=800)
    )
    rig.limiter.passed(ended, "local")
    assert rig.left("b.device_ms") == pytest.approx(200)
