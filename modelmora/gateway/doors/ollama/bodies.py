"""What clients of Ollama's send, made requests of ours; what a model cannot do is refused."""

from __future__ import annotations

import base64
import json
import re
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from modelmora.errors import Code
from modelmora.gateway.outcomes import Refusal
from modelmora.messages import ChatMessage, Content, Parameter

_SPAN = re.compile(r"(-?)(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_SAMPLING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)
_RUNNER = frozenset(
    {
        "num_ctx",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "num_keep",
        "numa",
        "low_vram",
        "f16_kv",
        "vocab_only",
        "use_mmap",
        "use_mlock",
        "repeat_last_n",
    }
)
"""Options of Ollama's own runner, which a model here has of its engine."""
_NEUTRAL = {"mirostat": 0, "mirostat_eta": 0.1, "mirostat_tau": 5.0, "tfs_z": 1, "typical_p": 1}
"""Options that are not known here, at the values by which they do nothing."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _told(cls, found: Any) -> Any:
        """What is null or empty is not told; clients fill in all that they know."""
        if isinstance(found, dict):
            return {name: value for name, value in found.items() if value not in (None, "", [], {})}
        return found


class Named(_Body):
    """A body of which the model is all that counts."""

    name: StrictStr = ""
    given: StrictStr = Field("", alias="model")
    keep_alive: StrictInt | StrictFloat | StrictStr | None = None

    @property
    def model(self) -> str:
        """As it is called here: `name:latest` is the name, every other tag a version."""
        return model_of(self.shown)

    @property
    def shown(self) -> str:
        """As it was asked for."""
        return self.given or self.name

    def stay(self) -> dict[str, Parameter]:
        """How long the model stays in memory after it, in seconds. Raises Refusal."""
        if self.keep_alive is None:
            return {}
        found = self.keep_alive if isinstance(self.keep_alive, int | float) else self._stay()
        return {"keep_alive": max(found, -1)}

    def _stay(self) -> float:
        text = str(self.keep_alive)
        with suppress(ValueError):
            return float(text)
        told = _SPAN.fullmatch(text)
        if told is None or not any(told.groups()[1:]):
            raise _invalid("keep_alive: is seconds, or a time like 5m or 1h30m")
        hours, minutes, seconds = (float(each or 0) for each in told.groups()[1:])
        return -1.0 if told[1] else 3600 * hours + 60 * minutes + seconds


class ShowBody(Named):
    """What `POST /api/show` reads."""

    verbose: StrictBool = False


class Sampled(Named):
    """What both ways to a text read."""

    options: dict[StrictStr, Any] = {}
    format: Literal["json"] | dict[str, Any] | None = None
    stream: StrictBool = True
    think: StrictBool | StrictStr | None = None

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of the request. Raises Refusal."""
        if self.think:
            raise _invalid("think: is not known here; leave it out")
        found: dict[str, Parameter] = {}
        for name, value in self.options.items():
            if name in _SAMPLING:
                found[name] = _number(name, value)
            elif name == "num_predict":
                found |= {"max_tokens": value} if _number(name, value) >= 0 else {}
            elif name == "stop":
                found[name] = _words(value)
            elif name not in _RUNNER and value != _NEUTRAL.get(name):
                raise _invalid(f"options.{name[:100]}: is not known here; leave it out")
        return found | self._format() | self.stay()

    def _format(self) -> dict[str, Parameter]:
        if self.format is None:
            return {}
        if self.format == "json":
            return {"json_schema": '{"type": "object"}'}
        try:
            return {"json_schema": json.dumps(self.format)}
        except RecursionError:
            raise _invalid("format: it is nested too deeply") from None

    def asked(self) -> tuple[Content, ...]:
        """The inputs; none where the model is only to be had in memory. Raises Refusal."""
        raise NotImplementedError


class GenerateBody(Sampled):
    """What `POST /api/generate` reads."""

    prompt: StrictStr = ""
    system: StrictStr = ""
    images: list[StrictStr] = []
    raw: StrictBool = False

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of the request. Raises Refusal."""
        return super().parameters() | ({"template": False} if self.raw else {})

    def asked(self) -> tuple[Content, ...]:
        """The prompt, as a turn of its own unless it is raw. Raises Refusal."""
        if not (self.prompt or self.images):
            return ()
        if not (self.system or self.images):
            return (self.prompt,)
        if self.raw:
            raise _invalid("raw: goes with no system and no images")
        system = (ChatMessage("system", self.system),) if self.system else ()
        return (*system, ChatMessage("user", self.prompt), *_images(self.images))


class Message(_Body):
    """One turn."""

    role: StrictStr
    content: StrictStr = ""
    images: list[StrictStr] = []
    thinking: StrictStr = ""


class ChatBody(Sampled):
    """What `POST /api/chat` reads."""

    messages: list[Message] = []

    def asked(self) -> tuple[Content, ...]:
        """The conversation, and the images of its last turn behind it. Raises Refusal."""
        if any(each.images for each in self.messages[:-1]):
            raise _invalid("messages: images belong to the last message")
        turns = [ChatMessage(each.role, each.content) for each in self.messages]
        return (*turns, *(_images(self.messages[-1].images) if turns else ()))


class EmbedBody(Named):
    """What `POST /api/embed` reads."""

    input: StrictStr | Annotated[list[StrictStr], Field(max_length=2048)] = ""
    truncate: StrictBool = True
    dimensions: StrictInt | None = None
    options: dict[StrictStr, Any] = {}

    def texts(self) -> tuple[str, ...]:
        """The texts. Raises Refusal."""
        texts = (self.input,) if isinstance(self.input, str) else tuple(self.input)
        if texts == ("",):
            raise _invalid("input: is missing")
        return texts

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of the request."""
        cut: dict[str, Parameter] = {} if self.truncate else {"truncate": False}
        return (
            cut | self.stay() | ({} if self.dimensions is None else {"dimensions": self.dimensions})
        )


class OldEmbedBody(Named):
    """What `POST /api/embeddings` reads."""

    prompt: StrictStr = ""
    options: dict[StrictStr, Any] = {}


def model_of(given: str) -> str:
    """The name of a model here. Raises Refusal."""
    if not given:
        raise _invalid("model: is missing")
    name, _, tag = given.partition(":")
    return name if tag in ("", "latest") else f"{name}@{tag}"


def _images(given: list[str]) -> list[bytes]:
    try:
        return [base64.b64decode(each, validate=True) for each in given]
    except ValueError:
        raise _invalid("images: each is base64") from None


def _number(name: str, value: object) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise _invalid(f"options.{name}: is a number")


def _words(value: object) -> tuple[str, ...]:
    words = tuple(value) if isinstance(value, list) else (value,)
    if all(isinstance(each, str) for each in words):
        return words
    raise _invalid("options.stop: is a string or a list of strings")


def _invalid(message: str) -> Refusal:
    return Refusal(Code.INVALID_INPUT, message)
