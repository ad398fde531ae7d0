"""Which tools a request may offer, and what of an answer is a call of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmora.engines.text.tools import (
    MOST_CHARS,
    Speech,
    Tools,
    calls_in,
    knows_tools,
    sayable,
    tools_of,
    turn_form,
)
from modelmora.errors import Code, RequestError
from modelmora.messages import ChatMessage, Parameter, ToolCall

NAMES = ("weather", "now")
CALL = '{"name": "weather", "arguments": {"city": "Köln"}}'
ARGUMENTS = '{"city": "Köln"}'
WEATHER, NOW = ("weather", ARGUMENTS), ("now", "{}")


def tool(name: str = "weather", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def offered(*tools: Any, **more: Parameter) -> Tools | None:
    return tools_of({"tools": json.dumps(tools), **more})


BOTH = Tools((tool("weather"), tool("now")))


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        (CALL, "", [WEATHER]),
        (f"\n {CALL} \n", "", [WEATHER]),
        (CALL.replace("arguments", "parameters"), "", [WEATHER]),
        (f"[{CALL}, {CALL}]", "", [WEATHER, WEATHER]),
        (f'{CALL}; {{"name": "now", "parameters": {{}}}}', "", [WEATHER, NOW]),
        (f"{CALL}\n{CALL}", "", [WEATHER, WEATHER]),
        (json.dumps({"name": "weather", "arguments": ARGUMENTS}), "", [WEATHER]),
        (f"<tool_call>\n{CALL}\n</tool_call>", "", [WEATHER]),
        (f"<tool_call>{CALL}", "", [WEATHER]),
        (f"Let me see. \n<tool_call>{CALL}</tool_call>\n", "Let me see.", [WEATHER]),
        (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", "", [WEATHER] * 2),
    ],
)
def test_calls_are_found(text: str, said: str, calls: list[tuple[str, str]]) -> None:
    assert calls_in(text, NAMES) == (said, calls)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "It rains.",
        f"It is {CALL}",
        f"{CALL} is what I would call",
        f"<tool_call>{CALL[:-1]}</tool_call>",
        f"<tool_call>{CALL[:-1]}",
        f"<tool_call>{CALL}</tool_call> and so on",
        f"<tool_call>{CALL}</tool_call><tool_call>{{</tool_call>",
        "<tool_call></tool_call>",
        CALL.replace("weather", "rm"),
        '{"name": "weather"}',
        '{"name": ["weather"], "arguments": {}}',
        '{"name": "weather", "arguments": []}',
        '{"name": "weather", "arguments": "[]"}',
        '{"name": "weather", "arguments": {"a": NaN}}',
        '{"name": "weather", "arguments": {"a": ' + "9" * 5000 + "}}",
        '{"name": "weather", "arguments": {"a": 1e999}}',
        '{"name": "weather", "arguments": {"a": "\\ud800"}}',
        '<tool_call>{"name": "weather", "arguments": {"a": "\\ud800"}}</tool_call>',
        '{"city": "Köln"}',
        "[]" * 3,
        "[" * 100_000,
        "<tool_call>" + "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_what_is_no_call_is_said_as_it_stands(text: str) -> None:
    assert calls_in(text, NAMES) == (text, [])
    speech = Speech(BOTH)
    begun = speech.add(text)
    rest, output, called = speech.end("r")
    assert (begun + rest, output, called) == (text, text, False)


@given(
    st.text("<tool_cal>/ {}[]\n\"name:weather,arguments'x", max_size=60)
    | st.sampled_from([f"So.\n<tool_call>{CALL}</tool_call>", CALL, "a <tool_", "a <tool_b"]),
    st.lists(st.integers(1, 9), max_size=8),
)
def test_whatever_comes_in_parts_begins_the_whole(text: str, cuts: list[int]) -> None:
    speech, told, at = Speech(BOTH), "", 0
    for cut in (*cuts, len(text)):
        told += speech.add(text[at : at + cut])
        at += cut
    rest, output, called = speech.end("r")
    whole = output.content if isinstance(output, ChatMessage) else output
    assert told + rest == whole
    assert isinstance(output, ChatMessage) is called


def test_words_before_a_call_come_at_once() -> None:
    assert sayable("Let me see") == 10
    assert sayable("Let me see <tool") == 10
    assert sayable("Let me see <tools") == 17
    assert sayable(' {"name"') == 0
    assert sayable("") == 0
    assert Speech().add(CALL) == CALL


def test_ids_are_the_same_again_and_of_nine_letters() -> None:
    found = []
    for request_id in ("r", "r", "s"):
        speech = Speech(BOTH)
        speech.add(f"[{CALL}, {CALL}]")
        _, turn, _ = speech.end(request_id)
        assert isinstance(turn, ChatMessage)
        assert turn.tool_calls
        found.append([call.id for call in turn.tool_calls])
        assert all(len(call.id) == 9 and call.id.isalnum() for call in turn.tool_calls)
    assert found[0] == found[1]
    assert len({*found[0], *found[2]}) == 4


def test_one_at_a_time_is_one() -> None:
    speech = Speech(offered(tool(), parallel_tool_calls=False))
    speech.add(f"[{CALL}, {CALL}]")
    _, turn, _ = speech.end("r")
    assert isinstance(turn, ChatMessage)
    assert turn.tool_calls
    assert len(turn.tool_calls) == 1


def test_what_is_offered() -> None:
    assert tools_of({}) is None
    assert offered(tool(), tool_choice="none") is None
    found = offered(tool(), tool("now", description="d", parameters={"type": "object"}))
    assert found
    assert (found.names, found.required, found.parallel) == (NAMES, False, True)
    required = offered(tool(description=None, parameters=None), tool_choice="required")
    assert required
    assert required.required


@pytest.mark.parametrize(
    "tools",
    [
        [],
        {},
        "weather",
        None,
        [1],
        ["weather"],
        [tool("")],
        [tool("a b")],
        [tool("a" * 65)],
        [tool("é")],
        [{"type": "function", "function": {}}],
        [{"type": "function", "function": {"name": 1}}],
        [{"type": "custom", "function": {"name": "a"}}],
        [{"type": "function"}],
        [tool(description=1)],
        [tool(description="\ud800")],
        [tool(parameters=[])],
        [tool(), tool()],
        [tool(f"t{number}") for number in range(129)],
        [tool(description="x" * MOST_CHARS)],
    ],
)
def test_what_cannot_be_offered_is_refused(tools: Any) -> None:
    with pytest.raises(RequestError) as caught:
        tools_of({"tools": json.dumps(tools)})
    assert caught.value.code is Code.INVALID_INPUT
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "parameters",
    [
        {"tools": "["},
        {"tools": "[" * 100_000},
        {"tools": '[{"type": "function", "function": {"name": "a", "parameters": {"a": NaN}}}]'},
        {"tool_choice": "required"},
        {"tool_choice": "weather"},
        {"tool_choice": ""},
    ],
)
def test_parameters_that_lie_are_refused(parameters: dict[str, Parameter]) -> None:
    with pytest.raises(RequestError) as caught:
        tools_of(parameters)
    assert caught.value.code is Code.INVALID_INPUT


def test_references_within_a_schema_hold_in_that_of_a_call() -> None:
    own = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "$ref": {"type": "string"}},
        "$defs": {"A": {"enum": [1]}},
        "allOf": [{"$ref": "http://elsewhere"}],
    }
    tools = offered(tool(), tool("now", parameters=own))
    assert tools
    schema = tools.schema()
    moved = schema["$defs"]["1"]
    assert moved["properties"] == {"a": {"$ref": "#/$defs/1/$defs/A"}, "$ref": {"type": "string"}}
    assert moved["allOf"] == own["allOf"]
    assert [each["properties"]["name"]["const"] for each in schema["anyOf"]] == [*NAMES]


def test_a_schema_nested_too_deeply_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"items": deep}
    tools = offered(tool(parameters=deep))
    assert tools
    with pytest.raises(RequestError):
        tools.schema()


def test_a_template_knows_tools_or_not() -> None:
    assert knows_tools("{% for tool in tools %}")
    assert knows_tools({"default": "{{ messages }}", "tool_use": "{{ tools }}"})
    for blind in ("{{ messages }}", "", None, 5, {"default": "mytools2"}):
        assert not knows_tools(blind)


def test_a_turn_as_templates_read_it() -> None:
    call = ToolCall("abc", "weather", ARGUMENTS)
    turn = ChatMessage("assistant", "", tool_calls=(call,))
    (shown,) = turn_form(turn, parsed=True)["tool_calls"]
    assert shown == {"id": "abc", **tool(arguments={"city": "Köln"})}
    (shown,) = turn_form(turn, parsed=False)["tool_calls"]
    assert shown["function"]["arguments"] == ARGUMENTS
    answer = ChatMessage("tool", "rain", "weather", None, "abc")
    assert turn_form(answer, parsed=True) == {
        "role": "tool",
        "content": "rain",
        "name": "weather",
        "tool_call_id": "abc",
    }
    for arguments in ("", "[]", "{", "[" * 100_000, '{"a": "\\ud800"}'):
        with pytest.raises(RequestError):
            turn_form(
                ChatMessage("assistant", "", tool_calls=(ToolCall("a", "b", arguments),)),
                parsed=False,
            )
