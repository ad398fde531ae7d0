"""What a text request asks for: its prompt or conversation, and how to choose the next token."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelmora.engines.text.files import SEEDS
from modelmora.engines.text.tools import Tools, knows_tools, tools_of, turn_form
from modelmora.errors import Code, RequestError
from modelmora.messages import ChatMessage, InferenceRequest, Parameter

MAX_TOKENS, TEMPERATURE, TOP_P = 256, 0.7, 0.95
"""Unless the request says something else."""
MOST_STOPS = 16
_LONGEST_FORM = 32 << 10


@dataclass(frozen=True, slots=True)
class Asked:
    """Either a plain prompt (`turns` empty), or turns for the chat template; images go last."""

    prompt: str
    turns: tuple[ChatMessage, ...] = ()
    images: tuple[tuple[int, bytes], ...] = ()
    """Each with its place among the inputs."""
    tools: Tools | None = None

    def shown(self, parameters: Mapping[str, Parameter]) -> Mapping[str, Parameter]:
        """Parameters as results tell them: of tools only their names."""
        return {**parameters, "tools": self.tools.names} if self.tools else parameters

    @property
    def most_tokens(self) -> int:
        """More tokens than the texts can make: a byte is at most one token."""
        turns = [json.dumps(turn_form(turn, parsed=False)) for turn in self.turns]
        told = [json.dumps(self.tools.told)] if self.tools else []
        texts = (self.prompt, *turns, *told)
        return sum(len(text.encode()) for text in texts) + 16 * len(self.turns)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; temperature 0 takes the likeliest."""

    seed: int
    max_tokens: int = MAX_TOKENS
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether the same prompt has the same answer whatever the seed."""
        return self.temperature == 0


def asked(
    request: InferenceRequest,
    parameters: Mapping[str, Parameter],
    *,
    template: object,
    takes_images: bool,
) -> Asked:
    """What stands in the inputs: one string, or messages; images beside either.

    A string is the user's turn where the model has a chat template, unless `template` is false.
    Raises RequestError (invalid_input).
    """
    has_template, tools = bool(template), tools_of(parameters)
    texts = [each for each in request.inputs if isinstance(each, str)]
    turns = tuple(each for each in request.inputs if isinstance(each, ChatMessage))
    images = tuple((n, each) for n, each in enumerate(request.inputs) if isinstance(each, bytes))
    if len(texts) + len(turns) + len(images) != len(request.inputs):
        raise _invalid("this task takes a string or chat messages, and images as bytes")
    if bool(texts) == bool(turns) or len(texts) > 1:
        raise _invalid("send one string, or the messages of one conversation")
    if images and not takes_images:
        raise _invalid("this model reads no images")
    if turns and not has_template:
        raise _invalid("this model has no chat template; send one string, which is its prompt")
    if (turns or images or tools) and parameters.get("template") is False:
        raise _invalid("`template: false` is for one string, which is then the whole prompt")
    if not knows_tools(template) and (tools or any(turn.tool_calls for turn in turns)):
        raise _invalid("this model's chat template knows no tools")
    if tools and not {"json_schema", "grammar"}.isdisjoint(parameters):
        raise _invalid("send `tools`, or what its answer must be like, not both")
    if images and not (texts[0] if texts else turns[-1].content):
        raise _invalid("say something about the image; its words are empty")
    if texts and not images and (not has_template or parameters.get("template") is False):
        return Asked(texts[0])
    return Asked("", turns or (ChatMessage("user", texts[0]),), images, tools)


def sampling(parameters: Mapping[str, Parameter], request_id: str) -> Sampling:
    """The sampling parameters; the seed, where none was given, is the request's own.

    So its text can be the same when it is computed anew, behind a crash. Raises RequestError.
    """
    given: dict[str, Any] = {
        name: parameters[name] for name in Sampling.__dataclass_fields__ if name in parameters
    }
    if len(given.get("stop", ())) > MOST_STOPS or "" in given.get("stop", ()):
        raise _invalid(f"`stop` takes at most {MOST_STOPS} strings, none of them empty")
    given.setdefault("seed", zlib.crc32(request_id.encode()) % (SEEDS - 1))
    return Sampling(**given)


def form(parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """`json_schema` or `grammar` (GBNF) that the answer must follow. Raises RequestError."""
    schema, grammar = parameters.get("json_schema"), parameters.get("grammar")
    if schema is not None and grammar is not None:
        raise _invalid("send `json_schema` or `grammar`, not both")
    if max(len(str(schema or "")), len(str(grammar or ""))) > _LONGEST_FORM:
        raise _invalid(f"`json_schema` and `grammar` take at most {_LONGEST_FORM} characters")
    if isinstance(grammar, str):
        # llama.cpp would read another language behind this, and on a fault use no grammar at all.
        if not grammar.strip() or grammar.lstrip().startswith("%"):
            raise _invalid("`grammar` is no GBNF; it begins with `root ::=` or another rule")
        return {"grammar": grammar}
    if schema is None:
        return {}
    try:
        rules = json.loads(str(schema))
    except (ValueError, RecursionError):
        raise _invalid("`json_schema` is not valid JSON") from None
    if not isinstance(rules, dict):
        raise _invalid("`json_schema` is no JSON object")
    return {"json_schema": rules}


def scales(parameters: Mapping[str, Parameter], known: Sequence[str]) -> dict[str, float]:
    """Adapter -> scale of `loras: ["name=0.8", "other"]`. Raises RequestError."""
    found: dict[str, float] = {}
    loras = parameters.get("loras")
    for each in loras if isinstance(loras, tuple) else ():
        name, _, scale = each.partition("=")
        if name not in known:
            names = ", ".join(known) or "none"
            raise _invalid(f"there is no adapter `{name[:96]}` beside this model; it has: {names}")
        try:
            found[name] = float(scale or 1)
        except ValueError:
            raise _invalid(f"the scale of adapter `{name}` is no number") from None
        if not -100 <= found[name] <= 100:
            raise _invalid(f"the scale of adapter `{name}` must lie between -100 and 100")
    return found


def check_length(tokens: int, context: int) -> None:
    """Raises RequestError (invalid_input) where a prompt leaves no place for an answer."""
    if tokens >= context:
        raise _invalid(
            f"the prompt has {tokens} tokens and the model takes {context}, "
            "of which its answer needs at least one; shorten it"
        )


def told(
    parameters: Mapping[str, Parameter],
    how: Sampling,
    finish: str,
    prompt_tokens: int,
    tokens: int,
) -> dict[str, Parameter]:
    """The settings of a result: those asked for, and what was not simply given."""
    return {
        **parameters,
        "seed": how.seed,
        "finish_reason": finish,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens,
    }


def logprob(
    token: str, value: float, others: Sequence[tuple[str, float]]
) -> dict[str, str | float | list[dict[str, str | float]]]:
    """One token of the output of `logprobs`, with the likeliest in its place."""
    top: list[dict[str, str | float]] = [{"token": t, "logprob": round(p, 4)} for t, p in others]
    return {"token": token, "logprob": round(value, 4), "top": top}


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_INPUT, message)
