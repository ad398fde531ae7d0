"""Tools: those that a request offers, and the calls of them that a model writes into its answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelmora.engines.text.words import begun
from modelmora.errors import Code, RequestError
from modelmora.messages import ChatMessage, Content, Parameter, ToolCall

MOST_TOOLS = 128
MOST_CHARS = 256 << 10
TOOL_CALLS = "tool_calls"
"""How an answer ends that has calls."""
CHOICES = ("auto", "none", "required")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KNOWS = re.compile(r"\btools\b")
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_BETWEEN = re.compile(r"[\s,;]*")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a model may call: `told` in OpenAI's form, as templates read it."""

    told: Sequence[Mapping[str, Any]]
    required: bool = False
    parallel: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return tuple(each["function"]["name"] for each in self.told)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of exactly one call, as `calls_in` reads it without tags.

        Raises RequestError (invalid_input).
        """
        definitions, calls = {}, []
        for number, each in enumerate(self.told):
            place = f"#/$defs/{number}"
            own = each["function"].get("parameters") or {"type": "object"}
            try:
                definitions[str(number)] = _moved(own, place)
            except RecursionError:
                raise _invalid(f"`tools`, {number}: it is nested too deeply") from None
            properties = {"name": {"const": self.names[number]}, "arguments": {"$ref": place}}
            calls.append(
                {
                    "type": "object",
                    "properties": properties,
                    "required": [*properties],
                    "additionalProperties": False,
                }
            )
        return {"anyOf": calls, "$defs": definitions}


def knows_tools(template: object) -> bool:
    """Whether a chat template, or one of several by name, shows tools to its model."""
    if isinstance(template, Mapping):
        return any(map(knows_tools, template.values()))
    return isinstance(template, str) and _KNOWS.search(template) is not None


def tools_of(parameters: Mapping[str, Parameter]) -> Tools | None:
    """The tools of `tools` (a JSON list in OpenAI's form); None where none may be called.

    Raises RequestError (invalid_input).
    """
    choice = parameters.get("tool_choice", "auto")
    if choice not in CHOICES:
        raise _invalid(f"`tool_choice` is one of {', '.join(CHOICES)}")
    given = parameters.get("tools")
    if given is None:
        if choice == "required":
            raise _invalid("`tool_choice: required` needs `tools`")
        return None
    if len(str(given)) > MOST_CHARS:
        raise _invalid(f"`tools` takes at most {MOST_CHARS} characters")
    try:
        told = _strict(str(given))
    except (ValueError, RecursionError):
        raise _invalid("`tools` is not valid JSON") from None
    if not isinstance(told, list) or not 0 < len(told) <= MOST_TOOLS:
        raise _invalid(f"`tools` is a list of 1 to {MOST_TOOLS} tools")
    for number, each in enumerate(told):
        _check(each, f"`tools`, {number}")
    tools = Tools(told, choice == "required", parameters.get("parallel_tool_calls") is not False)
    if len({*tools.names}) != len(told):
        raise _invalid("two of `tools` have one name")
    return None if choice == "none" else tools


def turn_form(turn: ChatMessage, *, parsed: bool) -> dict[str, Any]:
    """A turn as chat templates read it; `parsed`: the arguments as an object, not as its text."""
    form: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.name is not None:
        form["name"] = turn.name
    if turn.tool_call_id is not None:
        form["tool_call_id"] = turn.tool_call_id
    if turn.tool_calls:
        form["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call, parsed=parsed)},
            }
            for call in turn.tool_calls
        ]
    return form


class Speech:
    """The text of one answer as it comes: never a part of a call, where tools are offered."""

    def __init__(self, tools: Tools | None = None) -> None:
        self._tools = tools
        self._text = ""
        self._said = 0

    def add(self, text: str) -> str:
        """What can be said now that this has come."""
        self._text += text
        return self._until(sayable(self._text, self._said) if self._tools else len(self._text))

    def end(self, request_id: str) -> tuple[str, Content, bool]:
        """What was held back, the whole output, and whether it has calls."""
        if self._tools:
            content, calls = calls_in(self._text, self._tools.names)
            calls = calls if self._tools.parallel else calls[:1]
            if calls:
                numbered = tuple(
                    ToolCall(_id(request_id, number), name, arguments)
                    for number, (name, arguments) in enumerate(calls)
                )
                turn = ChatMessage("assistant", content, tool_calls=numbered)
                return self._until(len(content)), turn, True
        return self._until(len(self._text)), self._text, False

    def _until(self, place: int) -> str:
        fresh, self._said = self._text[self._said : place], max(place, self._said)
        return fresh


def sayable(text: str, said: int = 0) -> int:
    """How many characters of what an answer begins with are no part of a call, come what may.

    `said` are known to be none.
    """
    if not said and (text.lstrip() or "{")[0] in "{[":
        return 0
    place = text.find(_OPEN, said)
    if place < 0:
        place = len(text) - begun(text, _OPEN)
    return said + len(text[said:place].rstrip())


def calls_in(text: str, names: Sequence[str]) -> tuple[str, list[tuple[str, str]]]:
    """What an answer says before its calls, and the name and arguments of each call.

    A call is `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` (Hermes, Qwen), or, where
    nothing is said, that object alone or in a list, its arguments also called `parameters` (Llama,
    Mistral). A text that is not wholly so, or calls what was not offered, has none.
    """
    place = text.find(_OPEN)
    said = text[:place].rstrip() if place >= 0 else ""
    try:
        found = [*_tagged(text[place:])] if place >= 0 else [*_bare(text)]
        calls = [_call(each, names) for each in found]
    except (ValueError, RecursionError):
        calls = []
    return (said, calls) if calls else (text, [])


def _tagged(text: str) -> Iterator[Any]:
    for part in text.split(_OPEN)[1:]:
        body, _, rest = part.partition(_CLOSE)
        if rest.strip():
            raise ValueError("words follow a call")
        yield _strict(body)


def _bare(text: str) -> Iterator[Any]:
    place = 0
    while (place := _gap(text, place)) < len(text):
        found, place = _DECODER.raw_decode(text, place)
        yield from found if isinstance(found, list) else [found]


def _gap(text: str, place: int) -> int:
    match = _BETWEEN.match(text, place)
    return match.end() if match else place


def _call(found: Any, names: Sequence[str]) -> tuple[str, str]:
    if not isinstance(found, dict) or found.get("name") not in names:
        raise ValueError("no tool that was offered")
    given = found.get("arguments", found.get("parameters"))
    arguments = _strict(given) if isinstance(given, str) else given
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are no object")  # noqa: TRY004  (as JSON's own faults)
    return found["name"], _json(arguments)


def _constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_constant)


def _strict(text: str) -> Any:
    found = json.loads(text, parse_constant=_constant)
    _json(found)
    return found


def _json(found: Any) -> str:
    """As JSON. Raises ValueError for infinity, which 1e999 is, and for half a surrogate pair."""
    text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    text.encode()
    return text


def _check(tool: Any, where: str) -> None:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or tool.get("type") != "function":
        raise _invalid(f'{where}: a tool is {{"type": "function", "function": {{"name": ...}}}}')
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _invalid(f"{where}: its name is 1 to 64 letters, digits, `_`, `.` and `-`")
    if not isinstance(function.get("description", ""), str | None):
        raise _invalid(f"{where}: its description is a text")
    if not isinstance(function.get("parameters", {}), dict | None):
        raise _invalid(f"{where}: its parameters are a JSON Schema, which is an object")


def _moved(schema: Any, place: str) -> Any:
    """A schema whose references within itself hold where it lies at this place of another."""
    if isinstance(schema, list):
        return [_moved(each, place) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: place + each[1:]
        if name == "$ref" and isinstance(each, str) and each.startswith("#")
        else _moved(each, place)
        for name, each in schema.items()
    }


def _arguments(call: ToolCall, *, parsed: bool) -> Any:
    try:
        found = _strict(call.arguments)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _invalid(f"the arguments of call {call.id[:64]} are no JSON object")
    return found if parsed else call.arguments


def _id(request_id: str, number: int) -> str:
    """The same when it is computed again; nine letters and digits, as Mistral's templates want."""
    return hashlib.sha256(f"{request_id}/{number}".encode()).hexdigest()[:9]


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_INPUT, message)
