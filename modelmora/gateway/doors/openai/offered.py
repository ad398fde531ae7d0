"""Tools as OpenAI's clients offer, choose and are asked to call them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, StrictBool, StrictStr

from modelmora.gateway.doors.openai.parts import Form, invalid
from modelmora.messages import ChatMessage, Content, Parameter, ToolCall


class Function(Form):
    """What a tool is called and takes."""

    name: StrictStr
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class Tool(Form):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function

    def told(self) -> dict[str, Any]:
        """As templates show it."""
        shown = self.function.model_dump(exclude_none=True, exclude={"strict"})
        return {"type": self.type, "function": shown}


class FunctionName(Form):
    """A tool by its name."""

    name: StrictStr


class NamedTool(Form):
    """The tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class CalledFunction(Form):
    """Which tool is called, and with what: a JSON object as text."""

    name: StrictStr
    arguments: StrictStr


class Called(Form):
    """A call that the assistant has made."""

    id: StrictStr
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = Field(None, description="Its place in a stream, which says nothing here.")

    def call(self) -> ToolCall:
        """The message's own form."""
        return ToolCall(self.id, self.function.name, self.function.arguments)


def parameters_of(
    tools: Sequence[Tool] | None, choice: str | NamedTool | None, parallel: bool | None
) -> dict[str, Parameter]:
    """The parameters of a request; a tool that must be called is the only one. Raises Refusal."""
    offered = tools or ()
    if isinstance(choice, NamedTool):
        offered = [each for each in offered if each.function.name == choice.function.name]
        if not offered:
            raise invalid("tool_choice: there is no such tool among `tools`")
        choice = "required"
    if choice == "required" and not offered:
        raise invalid("tool_choice: goes with `tools`")
    if choice == "none" or not offered:
        return {}
    try:
        found: dict[str, Parameter] = {"tools": json.dumps([each.told() for each in offered])}
    except (RecursionError, ValueError):
        raise invalid("tools: they are nested too deeply") from None
    if choice == "required":
        found["tool_choice"] = choice
    return found if parallel is None else found | {"parallel_tool_calls": parallel}


def calls_of(content: Content) -> list[dict[str, Any]]:
    """The calls in an answer, as OpenAI has them."""
    called = content.tool_calls if isinstance(content, ChatMessage) else None
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in called or ()
    ]
