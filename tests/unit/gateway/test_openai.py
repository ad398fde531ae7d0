"""The OpenAI door before a hall that is none, called by OpenAI's own client."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from modelmora.errors import Code
from modelmora.gateway.doors.rest.routes import create_app
from modelmora.gateway.metrics import Metrics
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.watching import MOST_WAITING
from modelmora.messages import ChatMessage, Parameter, ProgressEvent, ProgressStage, Tensor
from tests.unit.gateway.fakes import FakeHall

ENDED: dict[str, Parameter] = {
    "finish_reason": "length",
    "prompt_tokens": 7,
    "completion_tokens": 3,
}
HELLO: Any = [{"role": "user", "content": "Hello"}]
PNG = b"\x89PNG"


def chunk(sequence: int, text: str, attempt: int = 1) -> ProgressEvent:
    return ProgressEvent(
        "made-here", ProgressStage.CHUNK, "echo", None, None, text.encode(), attempt, sequence
    )


def floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


@pytest.fixture
def hall() -> FakeHall:
    hall = FakeHall(outputs=("one two three",))
    hall.settings = ENDED
    return hall


@pytest.fixture
async def raw(hall: FakeHall) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(hall, Metrics(), 100_000)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway/v1") as client:
        yield client


@pytest.fixture
def client(raw: httpx.AsyncClient) -> openai.AsyncOpenAI:
    transport: Any = raw  # its own kind of client is a fork of this one
    return openai.AsyncOpenAI(
        base_url="http://gateway/v1", api_key="none", http_client=transport, max_retries=0
    )


async def test_a_conversation_is_answered(hall: FakeHall, client: openai.AsyncOpenAI) -> None:
    found = await client.chat.completions.create(
        model="echo",
        messages=[
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        ],
        max_completion_tokens=3,
        temperature=0,
        stop="\n",
        user="somebody",
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
    )
    (ask,) = hall.asks
    assert ask.inputs == (ChatMessage("system", "Be short."), ChatMessage("user", "Hello"))
    assert ask.parameters == {
        "max_tokens": 3,
        "temperature": 0,
        "stop": ("\n",),
        "json_schema": '{"type": "object"}',
    }
    assert (ask.door, ask.progress) == ("openai", False)
    (choice,) = found.choices
    assert (choice.message.content, choice.finish_reason) == ("one two three", "length")
    assert found.usage
    assert found.usage.total_tokens == 10
    assert found.id == "chatcmpl-made-here"


async def test_images_go_behind_the_conversation(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    shown: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    await client.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": shown}]
    )
    assert hall.asks[0].inputs == (ChatMessage("user", "What is it?"), PNG)


async def test_choices_differ_by_their_seed(hall: FakeHall, client: openai.AsyncOpenAI) -> None:
    found = await client.chat.completions.create(model="echo", messages=HELLO, n=3, seed=5)
    assert [each.index for each in found.choices] == [0, 1, 2]
    assert sorted(ask.parameters["seed"] for ask in hall.asks) == [5, 6, 7]  # type: ignore[type-var]
    assert found.usage
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (7, 9)


async def test_logprobs_of_a_conversation(hall: FakeHall, client: openai.AsyncOpenAI) -> None:
    told = [{"token": "é", "logprob": -0.5, "top": [{"token": "e", "logprob": -1.5}]}]
    hall.outputs = ("é", json.dumps(told))
    hall.settings = {**ENDED, "logprobs": 1}
    found = await client.chat.completions.create(
        model="echo", messages=HELLO, logprobs=True, top_logprobs=1
    )
    assert hall.asks[0].parameters == {"logprobs": 1}
    logprobs = found.choices[0].logprobs
    assert logprobs
    assert logprobs.content
    (token,) = logprobs.content
    assert (token.token, token.logprob, token.bytes) == ("é", -0.5, [0xC3, 0xA9])
    assert [each.token for each in token.top_logprobs] == ["e"]
    legacy = await client.completions.create(model="echo", prompt="x", logprobs=1)
    assert legacy.choices[0].logprobs
    assert legacy.choices[0].logprobs.top_logprobs == [{"e": -1.5}]


async def streamed(client: openai.AsyncOpenAI, **more: Any) -> list[Any]:
    stream = await client.chat.completions.create(model="echo", messages=HELLO, stream=True, **more)
    return [each async for each in stream]


async def test_a_stream_is_the_text_in_its_parts(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    hall.events = (chunk(0, "one "), chunk(1, "two"))
    begun, *parts, end, used = await streamed(client, stream_options={"include_usage": True})
    assert begun.choices[0].delta.role == "assistant"
    assert [part.choices[0].delta.content for part in parts] == ["one ", "two", " three"]
    assert end.choices[0].finish_reason == "length"
    assert (used.choices, used.usage.total_tokens) == ([], 10)
    assert hall.asks[0].progress
    # Asked with a seed, llama.cpp would compute the whole conversation anew at each turn.
    assert "seed" not in hall.asks[0].parameters


@pytest.mark.parametrize(
    "events",
    [
        (),
        (chunk(0, "one "), chunk(2, "lost before this")),
        (chunk(1, "its beginning came too late"),),
        (chunk(0, "one two"), chunk(0, "one ", 2), chunk(1, "two th", 2)),
    ],
    ids=["nothing told", "a part missing", "joined late", "computed again"],
)
async def test_a_stream_is_whole_whatever_was_told(
    events: tuple[ProgressEvent, ...], hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    hall.events = events
    text = "".join(part.choices[0].delta.content or "" for part in await streamed(client))
    assert text == "one two three"


async def test_a_stream_that_came_out_otherwise_says_so(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    hall.events = (chunk(0, "four"),)
    with pytest.raises(openai.APIError, match="came out otherwise"):
        await streamed(client)


async def test_a_refusal_before_the_stream_is_a_status(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as failed:
        await client.chat.completions.create(model="none", messages=HELLO, stream=True)
    assert failed.value.code == "unknown_model"


async def test_what_ends_later_retries_as_the_client_does(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    hall.refusal = Refusal(Code.BUSY, "come again", retry_after_ms=1, request_id="r1")
    with pytest.raises(openai.InternalServerError) as failed:
        await client.chat.completions.create(model="echo", messages=HELLO)
    assert failed.value.status_code == 503
    assert failed.value.response.headers["retry-after"] == "1"
    assert (failed.value.code, failed.value.request_id) == ("busy", "r1")
    again = client.with_options(max_retries=2)
    asked = len(hall.asks)
    with pytest.raises(openai.InternalServerError):
        await again.chat.completions.create(model="echo", messages=HELLO)
    assert len(hall.asks) == asked + 3


async def test_prompts_are_continued(hall: FakeHall, client: openai.AsyncOpenAI) -> None:
    found = await client.completions.create(model="echo", prompt=["a", "b"], max_tokens=3)
    assert [(ask.inputs, ask.parameters) for ask in hall.asks] == [
        (("a",), {"max_tokens": 3, "template": False}),
        (("b",), {"max_tokens": 3, "template": False}),
    ]
    assert [each.text for each in found.choices] == ["one two three"] * 2
    assert found.usage
    assert found.usage.prompt_tokens == 14


async def test_vectors_in_both_encodings(hall: FakeHall, client: openai.AsyncOpenAI) -> None:
    hall.outputs = (Tensor("embeddings", "FP32", (2, 2), floats(1, 2, 3, 4)),)
    packed = await client.embeddings.create(model="echo", input=["a", "b"], dimensions=2)
    plain = await client.embeddings.create(model="echo", input="a", encoding_format="float")
    wanted = [[1, 2], [3, 4]]
    assert [each.embedding for each in packed.data] == wanted
    assert [each.embedding for each in plain.data] == wanted
    assert (hall.asks[0].inputs, hall.asks[0].parameters) == (("a", "b"), {"dimensions": 2})


async def test_images_are_png_in_base64(hall: FakeHall, client: openai.AsyncOpenAI) -> None:
    hall.outputs = (PNG, PNG)
    found = await client.images.generate(
        model="echo", prompt="p", n=2, size="512x512", extra_body={"steps": 2, "seed": 1}
    )
    assert hall.asks[0].inputs == ("p", "p")
    assert hall.asks[0].parameters == {"size": "512x512", "steps": 2, "seed": 1}
    assert found.data
    assert [base64.b64decode(each.b64_json or "") for each in found.data] == [PNG, PNG]


async def test_the_best_documents_first(hall: FakeHall, raw: httpx.AsyncClient) -> None:
    hall.outputs = (Tensor("scores", "FP32", (3,), floats(0.1, 0.9, 0.5)),)
    body = {"model": "echo", "query": "q", "documents": ["a", {"text": "b"}, "c"], "top_n": 2}
    answer = await raw.post("/rerank", json=body | {"return_documents": True})
    assert hall.asks[0].inputs == ("q", "a", "b", "c")
    found = answer.json()["results"]
    assert [(each["index"], each["document"]["text"]) for each in found] == [(1, "b"), (2, "c")]


async def test_models_by_name(client: openai.AsyncOpenAI) -> None:
    assert [each.id async for each in client.models.list()] == ["echo"]
    assert (await client.models.retrieve("echo")).id == "echo"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("none")


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("chat/completions", {"model": "echo", "messages": []}, "messages: has one element"),
        (
            "chat/completions",
            {"model": "echo", "messages": HELLO, "tools": [{}]},
            "tools.0.type: is",
        ),
        ("chat/completions", {"model": "echo", "messages": HELLO, "n": 17}, "n: is 16 at most"),
        ("chat/completions", {"model": "echo", "messages": HELLO, "seeds": 1}, "mean seed?"),
        ("embeddings", {"model": "echo", "input": [[1, 2]]}, "input"),
        ("embeddings", {"model": "echo", "input": "a"}, "answers no vectors"),
        ("rerank", {"model": "echo", "query": "q", "documents": ["a"]}, "answers no scores"),
        (
            "images/generations",
            {"model": "echo", "prompt": "p", "response_format": "url"},
            "response_format",
        ),
        ("images/generations", {"model": "echo", "prompt": "p"}, "answers no images"),
    ],
)
async def test_what_does_not_suit_is_told(
    path: str, body: dict[str, Any], said: str, raw: httpx.AsyncClient
) -> None:
    answer = await raw.post(f"/{path}", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("invalid_input", "invalid_request_error")
    assert said in error["message"]


async def test_one_that_fails_takes_the_others_along(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    hall.blocked = asyncio.Event()
    hall.refuses = lambda ask: ask.parameters["seed"] == 6
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="echo", messages=HELLO, n=2, seed=5)
    assert hall.gone.is_set(), "the other was cancelled"


async def test_a_fault_of_ours_ends_the_stream(hall: FakeHall, client: openai.AsyncOpenAI) -> None:
    hall.events = (chunk(0, "one "),)
    hall.refusal = RuntimeError("a fault")
    with pytest.raises(openai.APIError, match="this process failed"):
        await streamed(client)
    with pytest.raises(openai.InternalServerError) as failed:
        await client.chat.completions.create(model="echo", messages=HELLO)
    assert failed.value.status_code == 500


async def test_a_slow_reader_holds_a_bound_of_events(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    hall.events = tuple(chunk(number, "x") for number in range(3 * MOST_WAITING))
    hall.outputs = ("x" * 3 * MOST_WAITING,)
    parts = await streamed(client)
    assert len(parts) == MOST_WAITING + 3, "begun, the bound, the rest at once, the end"
    assert "".join(part.choices[0].delta.content or "" for part in parts) == hall.outputs[0]


async def test_a_stream_is_known_by_its_request(hall: FakeHall, raw: httpx.AsyncClient) -> None:
    hall.events = (chunk(0, "one "),)
    body = {"model": "echo", "messages": HELLO, "stream": True}
    answer = await raw.post("/chat/completions", json=body)
    assert answer.headers["x-request-id"] == "made-here"
    assert b'"id":"chatcmpl-made-here"' in answer.content
    answer = await raw.post(
        "/chat/completions", json=body | {"n": 2}, headers={"x-request-id": "mine"}
    )
    assert [ask.request_id for ask in hall.asks[1:]] == ["mine-0", "mine-1"]


async def test_an_answer_goes_back_into_the_conversation(
    hall: FakeHall, client: openai.AsyncOpenAI
) -> None:
    found = await client.chat.completions.create(model="echo", messages=HELLO)
    said: Any = found.choices[0].message.model_dump()
    assert None in said.values()
    await client.chat.completions.create(model="echo", messages=[*HELLO, said, *HELLO])
    assert hall.asks[1].inputs[1] == ChatMessage("assistant", "one two three")


async def test_odd_bodies_are_no_fault_of_ours(hall: FakeHall, raw: httpx.AsyncClient) -> None:
    deep = '{"x":' * 1000 + "1" + "}" * 1000
    picture = '{"type":"image_url","image_url":{"url":"data:image/png;base64,é"}}'
    for more in (
        f'"messages":[{{"role":"user","content":[{picture}]}}]',
        (
            '"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",'
            f'"json_schema":{{"schema":{deep}}}}}'
        ),
    ):
        text = f'{{"model":"echo",{more}}}'.encode()
        answer = await raw.post(
            "/chat/completions", content=text, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400, more
    hall.outputs = (Tensor("scores", "FP32", (2,), floats(float("nan"), 1)),)
    body = {"model": "echo", "query": "q", "documents": ["a", "b"]}
    assert (await raw.post("/rerank", json=body)).json()["error"]["code"] == "internal"
