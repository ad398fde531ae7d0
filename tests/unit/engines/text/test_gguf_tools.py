"""Tools on GGUF models: shown by the template, called in one form whatever the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelmora.errors import Code
from modelmora.messages import ChatMessage, ToolCall
from tests.tiny_texts import TEMPLATE, TOOL_TEMPLATE, make_tiny_gguf
from tests.unit.engines.text.rig import OFFERED, ask, fault, request
from tests.unit.engines.text.test_gguf import loaded

if TYPE_CHECKING:
    from modelmora.engines.text.gguf import Gguf


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Gguf:
    folder = tmp_path_factory.mktemp("gguf") / "m"
    return loaded(make_tiny_gguf(folder, **{"tokenizer.chat_template": TOOL_TEMPLATE}))


def test_a_call_that_is_required_is_made(caller: Gguf) -> None:
    """Whatever the model, whose weights are noise here."""
    asked = [request("a", tools=OFFERED, tool_choice="required", seed=seed) for seed in range(4)]
    called = 0
    for end in ask(caller, *asked):
        assert end.outputs, end.error
        turn = end.outputs[0]
        if end.settings["finish_reason"] == "length":  # its blanks filled the context
            continue
        called += 1
        assert isinstance(turn, ChatMessage)
        (call,) = turn.tool_calls or ()
        assert call.name == "dim"
        assert json.loads(call.arguments) in ({"a": 1}, {"a": 2})
        assert end.settings["finish_reason"] == "tool_calls"
        assert end.settings["tools"] == ("dim",)
    assert called


def test_tools_and_their_answers_go_into_the_prompt(caller: Gguf) -> None:
    called = ChatMessage("assistant", "", tool_calls=(ToolCall("c", "dim", '{"a": 1}'),))
    turns = (ChatMessage("user", "a"), called, ChatMessage("tool", "5", "dim", None, "c"))
    shown, bare, hidden, more = ask(
        caller,
        request("a", tools=OFFERED, max_tokens=1),
        request("a", max_tokens=1),
        request("a", tools=OFFERED, tool_choice="none", max_tokens=1),
        request(*turns, max_tokens=1),
    )
    tokens = [int(str(end.settings["prompt_tokens"])) for end in (shown, bare, hidden, more)]
    assert tokens[0] == tokens[1] + len("dim")
    assert tokens[1] == tokens[2]
    assert tokens[3] == tokens[1] + len("<assistant><tool>5")


@pytest.mark.parametrize(
    "parameters",
    [
        {"tools": "[]"},
        {"tools": OFFERED, "json_schema": "{}"},
        {"tools": OFFERED, "grammar": 'root ::= "a"'},
        {"tools": OFFERED, "template": False},
        {"tools": OFFERED.replace("enum", "$ref"), "tool_choice": "required"},
        {"tools": OFFERED.replace('"A"', '"B"'), "tool_choice": "required"},
        {"tools": OFFERED, "tool_choice": "dim"},
    ],
    ids=["none", "schema", "grammar", "raw", "odd", "nowhere", "choice"],
)
def test_tools_that_cannot_be_used_are_refused_and_not_logged(
    caller: Gguf, parameters: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    refusal = fault(caller, request("a", **parameters))
    assert refusal.code is Code.INVALID_INPUT
    assert capfd.readouterr().err == ""


def test_a_template_without_tools_takes_none(tmp_path: Path) -> None:
    plain = loaded(make_tiny_gguf(tmp_path / "m", **{"tokenizer.chat_template": TEMPLATE}))
    called = ChatMessage("assistant", "", tool_calls=(ToolCall("c", "dim", "{}"),))
    for asked in (request("a", tools=OFFERED), request(called, ChatMessage("tool", "5"))):
        assert fault(plain, asked).message == "this model's chat template knows no tools"
