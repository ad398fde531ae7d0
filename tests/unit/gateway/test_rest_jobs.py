"""Jobs over REST, before a hall that is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from modelmora.errors import Code
from modelmora.gateway.calls.jobs import Job, JobState
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ErrorInfo, ProgressEvent, ProgressStage, Tensor
from modelmora.web.server import HttpServer
from tests.unit.gateway.fakes import FakeHall

JOB = Job("j", "echo", JobState.PROCESSING, 1, "2", 0, 90_000.0, 3, 12)


async def submit(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/infer/echo/async", json={"inputs": "x"}, headers=named)


def events(text: str) -> list[tuple[str, Any]]:
    """The name and the data of each event."""
    found = []
    for block in filter(None, text.split("\n\n")):
        if not block.startswith(":"):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_from_submission_to_result(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.events = (
        ProgressEvent("j", ProgressStage.STARTED, "echo@1"),
        ProgressEvent("j", ProgressStage.CHUNK, "echo@1", step=1, steps=2),
    )
    answer = await submit(client, x_request_id="a?b#c%!")
    job = answer.json()
    assert (answer.status_code, job["state"], job["position"]) == (202, "queued", 0)
    assert answer.headers["retry-after"] == "1"
    where = answer.headers["location"]
    assert where == "/jobs/a%3Fb%23c%25%21"
    assert (await client.get(where)).json() == job
    early = await client.get(f"{where}/result")
    assert (early.status_code, early.json()["code"]) == (409, "not_finished")
    stream = await client.get(f"{where}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    told = events(stream.text)
    assert [name for name, _ in told] == ["job", "progress", "progress", "job"]
    assert told[2][1]["step"] == 1
    ended = await client.get(where)
    assert told[-1][1] == ended.json()
    assert ended.json()["state"] == "completed"
    assert "retry-after" not in ended.headers
    result = await client.get(f"{where}/result")
    assert result.json()["outputs"] == ["x"]
    assert events((await client.get(f"{where}/events")).text) == [("job", ended.json())]


async def test_a_job_has_all_its_members(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.jobs["local", "j"] = (JOB, None)
    answer = await client.get("/jobs/j")
    assert answer.json() == {
        "request_id": "j",
        "model": "echo",
        "version": "2",
        "state": "processing",
        "position": 0,
        "estimate_ms": 90_000.0,
        "step": 3,
        "steps": 12,
        "progress": 0.25,
        "submitted_at": 1,
        "ended_at": None,
        "held_until": None,
        "error": None,
    }
    assert answer.headers["retry-after"] == "60"
    error = ErrorInfo(Code.WORKER_CRASH, "it crashed")
    failed = replace(JOB, state=JobState.FAILED, ended_at=5, error=error)
    hall.jobs["local", "j"] = (failed, None)
    assert (await client.get("/jobs/j")).json()["error"] == {
        "code": "worker_crash",
        "message": "it crashed",
        "retry_after_ms": None,
    }
    answer = await client.get("/jobs/j/result")
    assert (answer.status_code, answer.json()["code"]) == (500, "worker_crash")
    hall.jobs["local", "j"] = (replace(JOB, state=JobState.COMPLETED), None)
    assert (await client.get("/jobs/j/result")).status_code == 410


async def test_results_have_the_forms_of_infer(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.outputs = (Tensor("t", "FP32", (1, 1), bytes(4)),)
    where = (await submit(client)).headers["location"]
    assert (await client.get(where, params={"wait_s": 5})).json()["state"] == "completed"
    for accept, status in (
        ("application/json", 200),
        ("application/x-npy", 200),
        ("application/octet-stream", 200),
        ("image/png", 406),
        ("text/event-stream", 406),
    ):
        answer = await client.get(f"{where}/result", headers={"accept": accept})
        assert answer.status_code == status, accept
    assert (await client.get(f"{where}/result", headers={"accept": "application/x-npy"})).content[
        :6
    ] == b"\x93NUMPY"


async def test_waiting_ends_with_the_job_or_its_time(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    where = (await submit(client)).headers["location"]
    hall.blocked = asyncio.Event()
    short = await client.get(where, params={"wait_s": 0.01})
    assert (short.status_code, short.json()["state"]) == (200, "queued")
    waiting = asyncio.create_task(client.get(where, params={"wait_s": 60}))
    hall.blocked.set()
    assert (await waiting).json()["state"] == "completed"
    for wrong in ("-1", "nan", "inf", "3601", "x", "", ["1", "2"]):
        answer = await client.get(where, params={"wait_s": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input"), wrong


async def test_a_job_is_cancelled_once(hall: FakeHall, client: httpx.AsyncClient) -> None:
    where = (await submit(client)).headers["location"]
    first, second = await client.delete(where), await client.delete(where)
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert first.json()["error"]["code"] == "cancelled"
    assert (await client.get(f"{where}/result")).status_code == 409


async def test_what_cannot_be_submitted(hall: FakeHall, client: httpx.AsyncClient) -> None:
    for headers in (
        {"x_request_id": "a/b"},
        {"x_request_id": ".."},
        {"x_request_id": "two words"},
        {"idempotency_key": "x" * 256},
        {"idempotency_key": "x", "x_request_id": "y"},
    ):
        answer = await submit(client, **headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input"), headers
    assert not hall.jobs
    hall.refuses = lambda _: True
    answer = await submit(client)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert answer.headers["retry-after"]
    answer = await client.post("/infer/echo/async", content=b"{", headers={"x-request-id": "m"})
    assert (answer.status_code, answer.json()["request_id"]) == (400, "m")


async def test_one_key_is_one_job_of_its_principal(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    first = await submit(client, idempotency_key='"order 17"')
    again = await submit(client, idempotency_key='"order 17"')
    other = await submit(client, idempotency_key='"order 18"')
    name = first.json()["request_id"]
    assert again.json()["request_id"] == name != other.json()["request_id"]
    assert len(hall.asks) == 2
    agreed = await submit(client, idempotency_key='"order 17"', x_request_id=name)
    assert agreed.status_code == 202
    hall.answers["other"] = ("y",)
    answer = await client.post(
        "/infer/other/async", json={"inputs": "x"}, headers={"idempotency-key": '"order 17"'}
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "id_reused")
    waited = await client.post(
        "/infer/echo", json={"inputs": "x"}, headers={"idempotency-key": '"order 17"'}
    )
    assert waited.json()["request_id"] == name


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("GET", "/result"), ("GET", "/events"), ("GET", "?wait_s=5")],
)
async def test_anothers_job_is_none(
    method: str, path: str, hall: FakeHall, client: httpx.AsyncClient
) -> None:
    hall.jobs["alice", "j"] = (JOB, None)
    answer = await client.request(method, f"/jobs/j{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_what_fails_later_is_told_in_the_stream(
    hall: FakeHall, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, code in (
        (Refusal(Code.BUSY, "come again"), "busy"),
        (RuntimeError("secret"), "internal"),
    ):

        async def watch(_id: str, error: Exception = error) -> AsyncIterator[Job | None]:
            yield JOB
            yield None
            raise error

        monkeypatch.setattr(hall, "watch", watch)
        answer = await client.get("/jobs/j/events")
        (name, _), (last, problem) = events(answer.text)
        assert (name, last, problem["code"]) == ("job", "problem", code)
        assert "secret" not in answer.text
        answer = await client.get("/jobs/j", params={"wait_s": 5})
        assert answer.json()["code"] == code


async def test_leaving_leaves_the_job_alone(hall: FakeHall) -> None:
    hall.blocked = asyncio.Event()
    hall.jobs["local", "j"] = (JOB, None)
    server = HttpServer(create_app(hall, Metrics(), 1000), "127.0.0.1", 0)
    host, port = await server.start()
    try:
        for path in ("/jobs/j/events", "/jobs/j?wait_s=60"):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            if "events" in path:
                await reader.readuntil(b"event: job")
            writer.close()
            await writer.wait_closed()
    finally:
        await server.stop(0.5)
    assert hall.jobs["local", "j"] == (JOB, None)
