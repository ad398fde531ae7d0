"""Tools through OpenAI's own client: offered, called in one piece or as a stream, answered."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pydantic
import pytest

from modelmora.messages import ChatMessage, ToolCall
from tests.unit.gateway.fakes import FakeHall
from tests.unit.gateway.test_openai import ENDED, HELLO, chunk, client, hall, raw

__all__ = ["client", "hall", "raw"]

ARGUMENTS = '{"city": "Köln"}'
CALLS = (ToolCall("call00001", "weather", ARGUMENTS), ToolCall("call00002", "now", "{}"))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": SCHEMA, "strict": True},
}
NOW: Any = {"type": "function", "function": {"name": "now", "description": None}}
TOLD = [
    {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "now"}},
]


@pytest.fixture
def caller(hall: FakeHall) -> FakeHall:
    """A hall whose model calls both tools, behind a word."""
    hall.outputs = (ChatMessage("assistant", "Let me see.", tool_calls=CALLS),)
    hall.settings = ENDED | {"finish_reason": "tool_calls"}
    return hall


async def test_calls_and_their_answers(caller: FakeHall, client: openai.AsyncOpenAI) -> None:
    found = await client.chat.completions.create(
        model="echo", messages=HELLO, tools=[WEATHER, NOW], parallel_tool_calls=True
    )
    assert caller.asks[0].parameters.keys() == {"tools", "parallel_tool_calls"}
    assert json.loads(str(caller.asks[0].parameters["tools"])) == TOLD
    (choice,) = found.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    calls: Any = choice.message.tool_calls
    first, second = calls
    assert first.type == "function"
    assert (first.id, first.function.name, first.function.arguments) == (
        "call00001",
        "weather",
        ARGUMENTS,
    )
    caller.outputs = ("It rains.",)
    said: Any = [
        *HELLO,
        choice.message,
        {"role": "tool", "tool_call_id": first.id, "content": "rain"},
        {"role": "tool", "tool_call_id": second.id, "content": [{"type": "text", "text": "9"}]},
    ]
    await client.chat.completions.create(model="echo", messages=said)
    assert caller.asks[1].inputs == (
        ChatMessage("user", "Hello"),
        ChatMessage("assistant", "Let me see.", None, CALLS),
        ChatMessage("tool", "rain", None, None, "call00001"),
        ChatMessage("tool", "9", None, None, "call00002"),
    )
    assert caller.asks[1].parameters == {}


async def test_calls_alone_have_no_content(caller: FakeHall, client: openai.AsyncOpenAI) -> None:
    caller.outputs = (ChatMessage("assistant", "", tool_calls=CALLS[:1]),)
    found = await client.chat.completions.create(model="echo", messages=HELLO, tools=[WEATHER])
    assert found.choices[0].message.content is None


@pytest.mark.parametrize("number", [1, 3])
async def test_calls_in_a_stream(number: int, caller: FakeHall, client: openai.AsyncOpenAI) -> None:
    caller.events = (chunk(0, "Let me "),)
    async with client.chat.completions.stream(
        model="echo", messages=HELLO, tools=[WEATHER, NOW], n=number
    ) as stream:
        kinds = [event.type async for event in stream]
        found = await stream.get_final_completion()
    assert kinds.count("tool_calls.function.arguments.done") == 2 * number
    assert len(found.choices) == number
    for choice in found.choices:
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "Let me see."
        assert [(call.id, call.function.name) for call in choice.message.tool_calls or ()] == [
            ("call00001", "weather"),
            ("call00002", "now"),
        ]


async def test_a_tool_made_of_a_type(caller: FakeHall, client: openai.AsyncOpenAI) -> None:
    class weather(pydantic.BaseModel):  # noqa: N801  (its name is the tool's)
        city: str

    caller.outputs = (ChatMessage("assistant", "", tool_calls=CALLS[:1]),)
    found = await client.chat.completions.parse(
        model="echo", messages=HELLO, tools=[openai.pydantic_function_tool(weather)]
    )
    calls: Any = found.choices[0].message.tool_calls
    (call,) = calls
    assert call.function.parsed_arguments == weather(city="Köln")


@pytest.mark.parametrize(
    ("choice", "names", "told"),
    [
        ("auto", ["weather", "now"], None),
        ("required", ["weather", "now"], "required"),
        ({"type": "function", "function": {"name": "now"}}, ["now"], "required"),
        ("none", None, None),
    ],
)
async def test_what_is_chosen(
    choice: Any, names: list[str] | None, told: str | None, caller: FakeHall, raw: httpx.AsyncClient
) -> None:
    body = {"model": "echo", "messages": HELLO, "tools": [WEATHER, NOW], "tool_choice": choice}
    assert (await raw.post("/chat/completions", json=body)).status_code == 200
    parameters = caller.asks[0].parameters
    offered = json.loads(str(parameters.get("tools", "null")))
    assert (offered and [each["function"]["name"] for each in offered]) == names
    assert parameters.get("tool_choice") == told


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tools": "weather"}, "tools: is a list"),
        ({"tools": [1]}, "tools.0: is an object"),
        ({"tools": [{"type": "custom", "function": {"name": "a"}}]}, "tools.0.type: is one of"),
        ({"tools": [{"type": "function"}]}, "tools.0.function: is missing"),
        ({"tools": [{"type": "function", "function": {"name": 1}}]}, "tools.0.function.name: is a"),
        ({"tools": [WEATHER], "tool_choice": "weather"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice"),
        (
            {"tools": [WEATHER], "tool_choice": NOW},
            "tool_choice",
        ),
        ({"tool_choice": "required"}, "tool_choice: goes with `tools`"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice: goes with `tools`"),
        (
            {
                "tools": [WEATHER],
                "tool_choice": {"type": "function", "function": {"name": "now"}},
            },
            "there is no such tool",
        ),
        ({"tools": [WEATHER], "parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"messages": [{"role": "tool", "content": "5"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "is missing"),
        ({"functions": []}, "functions: is no field here"),
    ],
)
async def test_lies_are_told(more: dict[str, Any], said: str, raw: httpx.AsyncClient) -> None:
    body = {"model": "echo", "messages": HELLO} | more
    answer = await raw.post("/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_input"
    assert said in answer.json()["error"]["message"]


async def test_a_schema_nested_too_deeply_is_refused(raw: httpx.AsyncClient) -> None:
    deep = '{"a":' * 900 + "1" + "}" * 900
    body = '{"model": "echo", "messages": [{"role": "user", "content": "a"}], "tools": '
    body += f'[{{"type": "function", "function": {{"name": "a", "parameters": {deep}}}}}]}}'
    json_type = {"content-type": "application/json"}
    answer = await raw.post("/chat/completions", content=body, headers=json_type)
    assert answer.status_code in (200, 400)


async def test_an_unknown_turn_is_no_text(hall: FakeHall, raw: httpx.AsyncClient) -> None:
    hall.outputs = (b"bytes",)
    answer = await raw.post("/chat/completions", json={"model": "echo", "messages": HELLO})
    assert "answers no text" in answer.json()["error"]["message"]
