"""MiraVeja's HTTP contract before a hall that is none."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from modelmora.errors import Code
from modelmora.gateway.calls.jobs import Job, JobState
from modelmora.gateway.doors.miraveja.answers import FILTERED
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.hall import STOPPING
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ChatMessage, ErrorInfo, ProgressEvent, ProgressStage
from modelmora.web.problems import DoorCode
from tests.unit.gateway.fakes import FakeHall, finished

PNG = b"\x89PNG\r\n\x1a\n and so on"
SHOWN = {"mediaType": "image/png", "base64": base64.b64encode(PNG).decode()}
TEXT: dict[str, Any] = {"kind": "text", "instructions": "Say hello."}
IMAGE: dict[str, Any] = {
    "kind": "image",
    "description": "a fish",
    "size": {"width": 64, "height": 64},
}
SECRET = "the-secret-content"


@pytest.fixture
def hall() -> FakeHall:
    hall = FakeHall()
    sees = json.dumps({"reads_images": True})
    for name, task, more in (
        ("eyes", "txt2txt", {"file_facts": sees}),
        ("blind", "txt2txt", {"details": '{"licence": {"name": "MIT"}}'}),
        ("paints", "txt2img", {}),
    ):
        hall.registry.register(name, task, **more)
        hall.answers[f"{name}@1"] = (PNG,) if name == "paints" else ("Hello.",)
    return hall


@pytest.fixture
async def client(hall: FakeHall) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(hall, Metrics(), 100_000)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    url = "http://gateway/modelmora/v1"
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        yield client


def told(hall: FakeHall, request_id: str, state: JobState, **more: Any) -> None:
    """A job of ours in that state."""
    hall.jobs["local", request_id] = (Job(request_id, "eyes@1", state, 1, **more), None)


async def test_a_text_from_beginning_to_end(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.settings = {"seed": 7, "temperature": 0.5, "max_tokens": 9, "prompt_tokens": 3}
    settings = {"seed": 7, "maxLength": 9, "temperature": 0.5}
    answer = await client.post("/requests", json={**TEXT, "settings": settings})
    assert answer.status_code == 202
    accepted = answer.json()
    request_id = accepted.pop("requestId")
    assert accepted == {
        "position": 1,
        "estimatedWaitSeconds": None,
        "model": {"name": "blind", "version": "1"},
    }
    (ask,) = hall.asks
    assert (ask.door, ask.model, ask.inputs) == ("miraveja", "blind", ("Say hello.",))
    assert ask.parameters == {"seed": 7, "max_tokens": 9, "temperature": 0.5}
    waiting = (await client.get(f"/requests/{request_id}")).json()
    assert (waiting["state"], waiting["result"], waiting["failure"]) == ("waiting", None, None)
    done = (await client.get(f"/requests/{request_id}?waitSeconds=30")).json()
    held = done["result"].pop("heldUntil")
    assert held.startswith("1970-01-01T")
    assert done == {
        "requestId": request_id,
        "state": "done",
        "position": None,
        "estimatedWaitSeconds": None,
        "result": {
            "model": {"name": "blind", "version": "1"},
            "settingsUsed": {**settings, "steps": None, "guidance": None},
            "text": "Hello.",
            "imageAvailable": False,
            "filterNote": None,
        },
        "failure": None,
    }


async def test_an_image_from_beginning_to_end(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.settings = {"seed": 3, "steps": 4, "guidance": 2.5, "filtered": True}
    asked = {**IMAGE, "avoid": "fowl", "settings": {"steps": 4, "guidance": 2.5}}
    request_id = (await client.post("/requests", json=asked)).json()["requestId"]
    assert hall.asks[0].inputs == ("a fish",)
    assert hall.asks[0].parameters == {
        "size": "64x64",
        "negative_prompt": "fowl",
        "steps": 4,
        "guidance": 2.5,
    }
    early = await client.get(f"/requests/{request_id}/image")
    assert (early.status_code, early.json()["reason"]) == (409, "invalid_request")
    done = (await client.get(f"/requests/{request_id}?waitSeconds=1")).json()["result"]
    assert (done["text"], done["imageAvailable"], done["filterNote"]) == (None, True, FILTERED)
    image = await client.get(f"/requests/{request_id}/image")
    assert (image.headers["content-type"], image.content) == ("image/png", PNG)


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (["caller", "model"], ["user:0", "assistant:1", "user:Say hello."]),
        (["model", "caller"], ["system:Say hello.", "assistant:0", "user:1"]),
    ],
)
async def test_what_was_said_before(
    hall: FakeHall, client: httpx.AsyncClient, turns: list[str], expected: list[str]
) -> None:
    said = [{"speaker": each, "text": str(at)} for at, each in enumerate(turns)]
    await client.post("/requests", json={**TEXT, "conversation": said})
    inputs = [each for each in hall.asks[0].inputs if isinstance(each, ChatMessage)]
    assert [f"{each.role}:{each.content}" for each in inputs] == expected


async def test_images_go_to_a_model_that_sees(hall: FakeHall, client: httpx.AsyncClient) -> None:
    answer = await client.post("/requests", json={**TEXT, "images": [SHOWN]})
    assert answer.json()["model"]["name"] == "eyes"
    assert hall.asks[0].inputs == ("Say hello.", PNG)
    blind = {**TEXT, "images": [SHOWN], "model": {"name": "blind"}}
    answer = await client.post("/requests", json=blind)
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        [],
        {"kind": "sound"},
        {**TEXT, "more": SECRET},
        {**TEXT, "instructions": ""},
        {**TEXT, "instructions": 200_001 * "x"},
        {**TEXT, "model": {"name": "blind", "more": 1}},
        {**TEXT, "model": "blind"},
        {**TEXT, "conversation": 201 * [{"speaker": "caller", "text": "x"}]},
        {**TEXT, "conversation": [{"speaker": SECRET, "text": "x"}]},
        {**TEXT, "images": 9 * [SHOWN]},
        {**TEXT, "images": [{**SHOWN, "mediaType": "image/tiff"}]},
        {**TEXT, "images": [{**SHOWN, "base64": base64.b64encode(b"none").decode()}]},
        {**TEXT, "settings": {"maxLength": 0}},
        {**TEXT, "settings": {"maxLength": 32_001}},
        {**TEXT, "settings": {"max_length": 1}},
        {**TEXT, "settings": {"temperature": 2.1}},
        {**IMAGE, "description": 20_001 * "x"},
        {**IMAGE, "size": {"width": 63, "height": 64}},
        {**IMAGE, "size": {"width": 64, "height": 4097}},
        {**IMAGE, "size": None},
        {**IMAGE, "settings": {"steps": 201}},
        {**IMAGE, "settings": {"guidance": 30.5}},
        {**IMAGE, "instructions": SECRET},
        {**IMAGE, "model": {"name": "blind"}},
    ],
)
async def test_what_is_invalid_is_told_without_its_content(
    hall: FakeHall, client: httpx.AsyncClient, asked: Any
) -> None:
    answer = await client.post("/requests", json=asked)
    assert answer.status_code == 400
    told = answer.json()
    assert told.keys() == {"reason", "detail", "retryAfterSeconds"}
    assert (told["reason"], told["retryAfterSeconds"]) == ("invalid_request", None)
    assert SECRET not in answer.text
    assert not hall.asks
    assert hall.held == 0


async def test_the_limits_themselves_are_taken(client: httpx.AsyncClient) -> None:
    turns = 200 * [{"speaker": "model", "text": ""}]
    for asked in (
        {**TEXT, "instructions": 200_000 * "x", "conversation": turns, "model": None},
        {**TEXT, "images": 8 * [SHOWN], "settings": {"maxLength": 32_000, "temperature": 2}},
        {**IMAGE, "size": {"width": 4096, "height": 64}, "settings": {"steps": 200}},
        {**IMAGE, "description": 20_000 * "x", "settings": {"guidance": 30, "seed": None}},
    ):
        assert (await client.post("/requests", json=asked)).status_code == 202, asked


@pytest.mark.parametrize(
    ("code", "status", "reason", "later"),
    [
        (Code.BUSY, 503, "busy", 7),
        (Code.STARTING, 503, "starting", 7),
        (Code.STOPPING, 503, "stopping", 7),
        (Code.MODEL_UNAVAILABLE, 503, "model_unavailable", None),
        (Code.UNKNOWN_MODEL, 404, "unknown_model", None),
        (Code.CANNOT_BE_SERVED, 409, "cannot_be_served_on_this_studio", None),
        (Code.TOO_LARGE, 400, "invalid_request", None),
        (Code.UNKNOWN_PARAMETER, 400, "invalid_request", None),
        (Code.OUT_OF_MEMORY, 503, "failed_during_generation", None),
        (DoorCode.BROKER_UNREACHABLE, 503, "starting", 7),
        (DoorCode.UNAUTHENTICATED, 401, "invalid_request", None),
    ],
)
async def test_each_refusal_has_its_reason(
    hall: FakeHall,
    client: httpx.AsyncClient,
    code: Code | DoorCode,
    status: int,
    reason: str,
    later: int | None,
) -> None:
    hall.refusal = Refusal(code, "why", retry_after_ms=6_200)
    answer = await client.post("/requests", json=TEXT)
    assert answer.status_code == status
    assert answer.json() == {"reason": reason, "detail": "why", "retryAfterSeconds": later}
    assert answer.headers.get("retry-after") == (later and str(later))


async def test_a_node_that_refuses_at_once_is_heard(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    error = ErrorInfo(Code.BUSY, "too many wait", 2000)
    told(hall, "job-1", JobState.FAILED, error=error)
    hall.jobs["local", "other"] = finished("other")
    hall.submit = lambda ask: answered(hall.jobs["local", "job-1"][0])  # type: ignore[method-assign]
    answer = await client.post("/requests", json=TEXT)
    assert answer.status_code == 503
    assert answer.json() == {"reason": "busy", "detail": "too many wait", "retryAfterSeconds": 2}


async def answered(job: Job) -> Job:
    return replace(job, state=JobState.QUEUED)


@pytest.mark.parametrize(
    ("state", "code", "shown", "reason"),
    [
        (JobState.PROCESSING, None, "running", None),
        (JobState.CANCELLED, Code.CANCELLED, "withdrawn", None),
        (JobState.FAILED, Code.WORKER_CRASH, "failed", "failed_during_generation"),
        (JobState.EXPIRED, Code.EXPIRED, "failed", "failed_during_generation"),
        (JobState.FAILED, Code.INVALID_INPUT, "failed", "invalid_request"),
        (JobState.FAILED, Code.STOPPING, "stopped_before_completion", "stopping"),
        (JobState.STOPPED, Code.STOPPED, "stopped_before_completion", "stopping"),
    ],
)
async def test_each_state_has_its_word(
    hall: FakeHall,
    client: httpx.AsyncClient,
    state: JobState,
    code: Code | None,
    shown: str,
    reason: str | None,
) -> None:
    told(hall, "r", state, error=code and ErrorInfo(code, "why"), position=4, estimate_ms=1500.0)
    found = (await client.get("/requests/r")).json()
    assert found["state"] == shown
    assert found["position"] == (0 if shown == "running" else None)
    assert (found["failure"] or {}).get("reason") == reason
    assert found["result"] is None


async def test_position_and_wait_follow_what_is_told(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    told(hall, "r", JobState.LOADING, position=4, estimate_ms=1500.0)
    found = (await client.get("/requests/r")).json()
    assert (found["position"], found["estimatedWaitSeconds"]) == (5, 2)
    told(hall, "r", JobState.QUEUED)
    hall.blocked = asyncio.Event()
    hall.events = (ProgressEvent("r", ProgressStage.ACCEPTED, "eyes", 2, 300.0),)
    found = (await client.get("/requests/r?waitSeconds=1")).json()
    assert (found["state"], found["position"], found["estimatedWaitSeconds"]) == ("waiting", 3, 1)
    hall.events = (ProgressEvent("r", ProgressStage.CHUNK, "eyes", chunk=b"x"),)
    found = (await client.get("/requests/r?waitSeconds=1")).json()
    assert (found["state"], found["position"], found["estimatedWaitSeconds"]) == ("running", 0, 0)


@pytest.mark.parametrize(
    "query", ["waitSeconds=31", "waitSeconds=-1", "waitSeconds=", "wait=1", "waitSeconds=1.5"]
)
async def test_how_long_to_wait_is_a_number(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/requests/r?{query}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_request")


async def test_withdrawing(hall: FakeHall, client: httpx.AsyncClient) -> None:
    request_id = (await client.post("/requests", json=TEXT)).json()["requestId"]
    assert (await client.delete(f"/requests/{request_id}")).json()["state"] == "withdrawn"
    assert (await client.get(f"/requests/{request_id}")).json()["state"] == "withdrawn"
    hall.jobs["local", "done"] = finished("done", "Hello.")
    ended = (await client.delete("/requests/done")).json()
    assert (ended["state"], ended["result"]["text"]) == ("done", "Hello.")
    no_image = await client.get("/requests/done/image")
    assert (no_image.status_code, no_image.json()["reason"]) == (404, "invalid_request")


async def test_what_is_no_longer_held(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.jobs["local", "r"] = (finished("r")[0], None)
    found = (await client.get("/requests/r")).json()
    assert found["state"] == "done"
    assert (found["result"]["text"], found["result"]["imageAvailable"]) == (None, False)
    assert (await client.get("/requests/r/image")).status_code == 404


async def test_the_request_of_another_is_not_there(
    hall: FakeHall, client: httpx.AsyncClient
) -> None:
    hall.jobs["ana", "hers"] = finished("hers", PNG)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/image")):
        answer = await client.request(method, f"/requests/hers{path}")
        assert (answer.status_code, answer.json()["reason"]) == (404, "invalid_request")
    job, result = hall.jobs["ana", "hers"]
    assert job.state.ended
    assert result
    assert result.outputs == (PNG,)


async def test_models_and_availability(hall: FakeHall, client: httpx.AsyncClient) -> None:
    found = (await client.get("/models")).json()
    shown = {each["name"]: each for each in found["models"]}
    assert shown.keys() == {"blind", "eyes", "paints"}
    blind = {"name": "blind", "version": "1", "kind": "text"}
    assert shown["blind"] == {**blind, "readsImages": False, "license": "MIT"}
    assert (shown["eyes"]["readsImages"], shown["paints"]["kind"]) == (True, "image")
    assert found["defaults"] == {
        "text": {"name": "blind", "version": "1"},
        "textWithImages": {"name": "eyes", "version": "1"},
        "image": {"name": "paints", "version": "1"},
    }
    for fault, state in ((None, "running"), ("the broker", "starting"), (STOPPING, "stopping")):
        hall.told = (fault,) if fault else ()
        assert (await client.get("/availability")).json() == {
            "state": state,
            "queueLength": 0,
            "servable": {"text": 0, "image": 0},
        }


async def test_no_model_at_all() -> None:
    transport = httpx.ASGITransport(create_app(FakeHall(), Metrics(), 1000))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        found = (await client.get("/modelmora/v1/models")).json()
        nothing = {"text": None, "textWithImages": None, "image": None}
        assert found == {"models": [], "defaults": nothing}
        answer = await client.post("/modelmora/v1/requests", json=TEXT)
        assert (answer.status_code, answer.json()["reason"]) == (404, "unknown_model")
