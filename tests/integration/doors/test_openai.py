"""OpenAI's own client against gateway, node and text models: streams, crashes, hang-ups."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from modelmora.messages import Status
from modelmora.wire import new_request_id
from tests.nodes import GatewayProcess
from tests.stations import Station
from tests.unit.engines.text.rig import OFFERED

BOTH = ("tensors", "gguf")
TRIES = 10
LONG = 1500  # tokens: longer than it takes to hang up
DIM: Any = json.loads(OFFERED)[0]
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.http}/v1", api_key="none", timeout=60) as client:
        yield client


def text_of(stream: Any) -> str:
    return "".join(part.choices[0].delta.content or "" for part in stream if part.choices)


@pytest.mark.parametrize("model", BOTH)
def test_a_stream_is_the_answer(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"model": model, "messages": HELLO, "seed": 3, "max_tokens": 60}
    whole = client.chat.completions.create(**asked)
    # What is written within 20 ms is told together: so short a text may come in one piece.
    parts = [*client.chat.completions.create(**asked, stream=True)]
    assert text_of(parts) == whole.choices[0].message.content
    assert parts[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert whole.usage
    assert whole.usage.prompt_tokens > 0


def test_a_stream_survives_the_death_of_its_process(
    station: Station, client: openai.OpenAI
) -> None:
    asked: Any = {"model": "gguf", "messages": HELLO, "seed": 4, "max_tokens": 200}
    whole = client.chat.completions.create(**asked)
    stream = client.chat.completions.create(**asked, stream=True)
    begun = text_of([next(stream), next(stream)])
    os.kill(station.child("gguf"), signal.SIGKILL)
    assert begun + text_of(stream) == whole.choices[0].message.content


def test_a_stream_without_a_seed_survives_it_too(station: Station, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tensors",
        messages=HELLO,
        max_tokens=100,
        stream=True,
        extra_headers={"x-request-id": (request_id := new_request_id())},
    )
    begun = text_of([next(stream), next(stream)])
    os.kill(station.child("tensors"), signal.SIGKILL)
    told = begun + text_of(stream)
    (outcome,) = station.seen.answers([request_id])
    assert [told] == [*outcome.outputs]


def test_text_comes_while_it_is_written_and_who_hangs_up_cancels(
    station: Station, client: openai.OpenAI
) -> None:
    """Were a stream held back until its end, there would be nothing left to cancel."""
    for _ in range(TRIES):  # by chance one may have come to its end by then
        request_id = new_request_id()
        with client.completions.create(
            model="tensors",
            prompt="x",
            stream=True,
            max_tokens=LONG,
            extra_headers={"x-request-id": request_id},
        ) as stream:
            assert next(part for part in stream if part.choices[0].text)
        (outcome,) = station.seen.answers([request_id])
        if outcome.status is Status.CANCELLED:
            return
    raise AssertionError("none was cancelled")


def test_our_own_door_streams_the_same(client: openai.OpenAI) -> None:
    texts, last = "", {}
    with httpx.stream(
        "POST",
        str(client.base_url).replace("/v1/", "/infer/gguf"),
        json={"inputs": "x", "parameters": {"seed": 1, "max_tokens": 60}},
        headers={"accept": "text/event-stream"},
        timeout=60,
    ) as answer:
        body = b"".join(answer.iter_bytes())
    for line in body.split(b"\n"):  # text may hold what Python takes for the end of a line
        if line.startswith(b"data: "):
            last = json.loads(line.removeprefix(b"data: "))
            texts += last.get("text", "")
    # Nothing was told before the outcome, or by then all of it.
    assert texts in ("", last["outputs"][0])


def calls_of(choice: Any) -> Any:
    return choice.message.tool_calls


def called(client: openai.OpenAI, **more: Any) -> Any:
    """The first answer, of a model of noise, whose blanks leave room for its call."""
    for seed in range(TRIES):
        asked: Any = {"model": "gguf", "messages": HELLO, "seed": seed, "tools": [DIM], **more}
        with client.chat.completions.stream(**asked) as stream:
            found = stream.get_final_completion().choices[0]
        if found.finish_reason == "tool_calls":
            whole = client.chat.completions.create(**asked).choices[0]
            assert whole.finish_reason == "tool_calls"
            (ours,), (theirs,) = calls_of(found), calls_of(whole)
            assert (ours.function.name, ours.function.arguments) == (
                theirs.function.name,
                theirs.function.arguments,
            )
            return found
        assert found.finish_reason == "length"
    raise AssertionError("none was made")


def test_a_tool_that_must_be_called_is(client: openai.OpenAI) -> None:
    found = called(client, tool_choice={"type": "function", "function": {"name": "dim"}})
    (call,) = found.message.tool_calls
    assert call.function.name == "dim"
    assert json.loads(call.function.arguments) in ({"a": 1}, {"a": 2})
    said: Any = [*HELLO, found.message, {"role": "tool", "tool_call_id": call.id, "content": "5"}]
    again = client.chat.completions.create(model="gguf", messages=said, max_tokens=3)
    assert again.usage
    assert again.usage.prompt_tokens > len("<user>Hello<assistant><tool>5<assistant>")


def test_a_model_that_knows_no_tools_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="knows no tools") as caught:
        client.chat.completions.create(model="tensors", messages=HELLO, tools=[DIM])
    assert caught.value.code == "invalid_input"


def test_tokens_that_were_embedded_are_counted(client: openai.OpenAI) -> None:
    found = client.embeddings.create(model="vectors", input=["the river", "sky"])
    assert len(found.data) == 2
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (7, 7)


def test_a_model_that_writes_no_text_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="vectors"):
        client.embeddings.create(model="gguf", input="x")
