"""Drives a stepped engine as a child does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree

from modelmora.engines import CATALOG, Step, SteppedEngine, settings_for
from modelmora.errors import RequestError
from modelmora.messages import ChatMessage, Content, InferenceRequest, Parameter

MOST_STEPS = 20_000


def request(*inputs: Content, **parameters: Parameter) -> InferenceRequest:
    return InferenceRequest("r", "m", inputs, "txt2txt", parameters)


def plain(text: str, **parameters: Parameter) -> InferenceRequest:
    """The text is the prompt, answered alike each time."""
    return request(text, **{"template": False, "temperature": 0, **parameters})


def add(engine: SteppedEngine, key: int, asked: InferenceRequest) -> None:
    engine.add(key, asked, settings_for(CATALOG["txt2txt"], asked.parameters))


class Seen:
    """What an engine has said."""

    def __init__(self) -> None:
        self.chunks: dict[int, str] = {}
        self.ends: dict[int, Step] = {}

    def step(self, engine: SteppedEngine) -> None:
        for step in engine.step():
            assert step.key not in self.ends, "said something after its end"
            self.chunks[step.key] = self.chunks.get(step.key, "") + (step.chunk or "")
            if step.outputs is not None or step.error is not None:
                self.ends[step.key] = step

    def until(self, engine: SteppedEngine, *keys: int) -> None:
        for _ in range(MOST_STEPS):
            if self.ends.keys() >= {*keys}:
                return
            self.step(engine)
        raise AssertionError(f"{self.ends.keys()} of {keys} have ended")


def ask(engine: SteppedEngine, *requests: InferenceRequest) -> list[Step]:
    """The ends of requests that begin together."""
    seen = Seen()
    for key, asked in enumerate(requests):
        add(engine, key, asked)
    seen.until(engine, *range(len(requests)))
    for key, end in seen.ends.items():
        if end.outputs is not None:
            output = end.outputs[0]
            said = output.content if isinstance(output, ChatMessage) else output
            assert seen.chunks[key] == said, "the chunks are the output"
    return [seen.ends[key] for key in range(len(requests))]


def text(engine: SteppedEngine, asked: InferenceRequest) -> str:
    (end,) = ask(engine, asked)
    assert end.outputs is not None, end.error
    assert isinstance(end.outputs[0], str)
    return end.outputs[0]


OFFERED = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "dim",
                "parameters": {
                    "type": "object",
                    "properties": {"a": {"$ref": "#/$defs/A"}},
                    "required": ["a"],
                    "additionalProperties": False,
                    "$defs": {"A": {"enum": [1, 2]}},
                },
            },
        }
    ]
)
"""A tool whose arguments take few tokens."""


def fault(engine: SteppedEngine, asked: InferenceRequest) -> RequestError:
    """Why a request is refused, at once or later."""
    try:
        (end,) = ask(engine, asked)
    except RequestError as refusal:
        return refusal
    assert end.error is not None, end.outputs
    return end.error


def copied(folder: Path, to: Path) -> Path:
    return Path(copytree(folder, to))


def texts(ends: Sequence[Step]) -> list[Content]:
    return [end.outputs[0] if end.outputs else str(end.error) for end in ends]
