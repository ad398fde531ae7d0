"""The door of Ollama before a hall that is none, by the shapes that its documentation shows."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from modelmora.access.files import Keyring
from modelmora.errors import Code
from modelmora.gateway.doors.ollama.answers import API
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.rights.guard import Guard
from modelmora.messages import (
    ChatMessage,
    ControlVerb,
    Parameter,
    ProgressEvent,
    ProgressStage,
    Tensor,
)
from tests.unit.gateway.fakes import FakeHall

ENDED: dict[str, Parameter] = {
    "finish_reason": "length",
    "prompt_tokens": 7,
    "completion_tokens": 3,
}
PNG = b"\x89PNG"
HELLO = {"role": "user", "content": "Hello"}
LAST = {
    "done": True,
    "done_reason": "length",
    "total_duration": 6_000_000,
    "load_duration": 2_000_000,
    "prompt_eval_count": 7,
    "eval_count": 3,
    "eval_duration": 3_000_000,
}


@pytest.fixture
def hall() -> FakeHall:
    hall = FakeHall(outputs=("one two",))
    hall.settings = ENDED
    return hall


@pytest.fixture
async def client(hall: FakeHall) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(hall, Metrics(), 100_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


def chunk(sequence: int, text: str) -> ProgressEvent:
    return ProgressEvent(
        "made-here", ProgressStage.CHUNK, "echo", None, None, text.encode(), 1, sequence
    )


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 200),
        ({"origin": "http://elsewhere"}, 415),
        ({"origin": "http://elsewhere", "content-type": "application/json"}, 200),
    ],
)
async def test_who_is_no_page_need_not_name_a_type(
    client: httpx.AsyncClient, more: dict[str, str], status: int
) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"} | more
    asked = b'{"model": "echo", "prompt": "a", "stream": false}'
    answer = await client.post("/api/generate", content=asked, headers=headers)
    assert answer.status_code == status, answer.text


async def test_a_conversation_comes_as_lines(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.events = (chunk(0, "one"), chunk(1, " "))
    answer = await client.post("/api/chat", json={"model": "echo:latest", "messages": [HELLO]})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(each) for each in answer.text.splitlines()]
    assert "".join(each["message"]["content"] for each in lines) == "one two"
    assert {(each["model"], each["message"]["role"]) for each in lines} == {
        ("echo:latest", "assistant")
    }
    assert [each["done"] for each in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1].items() >= LAST.items()
    (ask,) = hall.asks
    assert (ask.model, ask.inputs, ask.progress) == ("echo", (ChatMessage("user", "Hello"),), True)


async def test_a_prompt_is_answered_as_a_whole(hall: FakeHall, client: httpx.AsyncClient) -> None:
    body = {
        "model": "echo",
        "prompt": "What is it?",
        "system": "Be short.",
        "images": [base64.b64encode(PNG).decode()],
        "stream": False,
        "format": {"type": "object"},
        "keep_alive": "1m30s",
        "options": {
            "num_predict": 5,
            "temperature": 0.1,
            "stop": ["x", "y"],
            "num_ctx": 4096,
            "mirostat": 0,
            "seed": 3,
        },
        "suffix": "",
        "context": [],
    }
    answer = (await client.post("/api/generate", json=body)).json()
    assert answer["response"] == "one two"
    assert answer.items() >= LAST.items()
    (ask,) = hall.asks
    assert ask.inputs == (
        ChatMessage("system", "Be short."),
        ChatMessage("user", "What is it?"),
        PNG,
    )
    assert ask.parameters == {
        "max_tokens": 5,
        "temperature": 0.1,
        "stop": ("x", "y"),
        "seed": 3,
        "json_schema": '{"type": "object"}',
        "keep_alive": 90.0,
    }


async def test_a_raw_prompt_goes_as_it_stands(hall: FakeHall, client: httpx.AsyncClient) -> None:
    await client.post("/api/generate", json={"model": "echo", "prompt": "x", "raw": True})
    await client.post("/api/generate", json={"model": "echo", "prompt": "x", "format": "json"})
    raw, other = hall.asks
    assert (raw.inputs, raw.parameters) == (("x",), {"template": False})
    assert other.parameters == {"json_schema": '{"type": "object"}'}


@pytest.mark.parametrize(
    ("more", "verb", "reason"),
    [
        ({}, ControlVerb.LOAD, "load"),
        ({"keep_alive": "5m"}, ControlVerb.LOAD, "load"),
        ({"keep_alive": 0}, ControlVerb.UNLOAD, "unload"),
    ],
)
async def test_without_a_prompt_the_model_is_loaded_or_unloaded(
    hall: FakeHall, client: httpx.AsyncClient, more: dict[str, Any], verb: ControlVerb, reason: str
) -> None:
    for path in ("/api/generate", "/api/chat"):
        answer = (await client.post(path, json={"model": "echo", **more})).json()
        assert (answer["done"], answer["done_reason"]) == (True, reason)
    assert [(each.verb, each.model) for each in hall.wishes] == [(verb, "echo@1")] * 2


async def test_texts_are_embedded(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.outputs = (Tensor("e", "FP32", (2, 2), struct.pack("<4f", 1, 2, 3, 4)),)
    body = {"model": "echo", "input": ["a", "b"], "truncate": False, "dimensions": 2}
    answer = (await client.post("/api/embed", json=body)).json()
    assert answer["embeddings"] == [[1, 2], [3, 4]]
    assert (answer["prompt_eval_count"], answer["total_duration"]) == (7, 6_000_000)
    assert hall.asks[0].parameters == {"truncate": False, "dimensions": 2}
    old = await client.post("/api/embeddings", json={"model": "echo", "prompt": "a"})
    assert old.json() == {"embedding": [1, 2]}


async def test_models_are_told(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.registry.register("writes", "txt2txt", file_facts='{"context_length": 64}')
    hall.holding = {"echo@1": '{"pid": 7, "memory_bytes": 9}'}
    tags = (await client.get("/api/tags")).json()["models"]
    assert [each["name"] for each in tags] == ["echo:latest", "writes:latest"]
    digests = {each["digest"] for each in tags}
    assert sorted(map(len, digests)) == [64, 64]  # Ollama's client shows the first 12
    (there,) = (await client.get("/api/ps")).json()["models"]
    assert (there["name"], there["size"], there["size_vram"]) == ("echo:latest", 9, 0)
    assert there["digest"] == tags[0]["digest"]
    shown = (await client.post("/api/show", json={"model": "writes:1"})).json()
    assert shown["capabilities"] == ["completion"]
    assert shown["model_info"]["txt2txt.context_length"] == 64
    assert (await client.get("/api/version")).json() == {"version": API}


@pytest.mark.parametrize(
    ("path", "body", "status", "why"),
    [
        ("chat", {"model": "nothing", "messages": [HELLO]}, 404, "no such model"),
        ("show", {"name": "nothing"}, 404, "/api/tags"),
        ("chat", {"messages": [HELLO]}, 400, "model: is missing"),
        ("chat", {"model": "echo", "messages": [HELLO], "tools": [{}]}, 400, "tools"),
        ("chat", {"model": "echo", "messages": [HELLO], "think": True}, 400, "think"),
        ("generate", {"model": "echo", "prompt": "x", "options": {"mirostat": 2}}, 400, "mirostat"),
        ("generate", {"model": "echo", "prompt": "x", "options": {"stop": {}}}, 400, "options"),
        ("generate", {"model": "echo", "prompt": "x", "options": {"num_predict": "a"}}, 400, "num"),
        ("generate", {"model": "echo", "prompt": "x", "images": ["é"]}, 400, "base64"),
        ("generate", {"model": "echo", "prompt": "x", "keep_alive": "soon"}, 400, "keep_alive"),
        ("embed", {"model": "echo"}, 400, "input"),
        ("pull", {"model": "llama3"}, 400, "modelmora install"),
    ],
)
async def test_refusals_are_words(
    client: httpx.AsyncClient, path: str, body: Any, status: int, why: str
) -> None:
    answer = await client.post(f"/api/{path}", json=body)
    assert (answer.status_code, [*answer.json()]) == (status, ["error"])
    assert why in answer.json()["error"]


async def test_what_fails_later_ends_the_lines(hall: FakeHall, client: httpx.AsyncClient) -> None:
    hall.events = (chunk(0, "one"),)
    hall.refusal = Refusal(Code.INFERENCE_FAILED, "it failed")
    answer = await client.post("/api/chat", json={"model": "echo", "messages": [HELLO]})
    assert answer.status_code == 200
    assert json.loads(answer.text.splitlines()[-1]) == {"error": "it failed"}


async def test_keys_are_asked_for() -> None:
    class Nobody(Keyring):
        def __init__(self) -> None:
            """Knows no key."""

        def recognise(self, text: str) -> None:
            return None

    app = create_app(FakeHall(), Metrics(), 100_000, Guard(Nobody()))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        for path in ("tags", "ps", "version"):
            answer = await client.get(f"/api/{path}")
            assert (answer.status_code, [*answer.json()]) == (401, ["error"])
