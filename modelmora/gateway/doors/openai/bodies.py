"""What clients of OpenAI's send, made requests of ours; what a model cannot do is refused."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from modelmora.gateway.choosing import Suit
from modelmora.gateway.doors.openai.offered import Called, NamedTool, Tool, parameters_of
from modelmora.gateway.doors.openai.parts import Form, Part, image, invalid
from modelmora.messages import ChatMessage, Content, Parameter

IGNORED = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Fields that say nothing of the answer."""
MOST_CHOICES = 16
MOST_TEXTS = 2048
Number = StrictInt | StrictFloat


class Asking(Form):
    """What every body reads: the model; none, or `default`, is the default of the task."""

    task: ClassVar[str]
    model: StrictStr = ""

    @property
    def suit(self) -> Suit:
        """What a model must be to answer by default."""
        return Suit(self.task)


class Message(Form):
    """One turn of a conversation."""

    role: StrictStr
    content: StrictStr | list[Part] | None = None
    name: StrictStr | None = None
    refusal: StrictStr | None = None
    tool_calls: list[Called] | None = None
    tool_call_id: StrictStr | None = None


class JsonSchema(Form):
    """A schema with its name."""

    name: StrictStr = ""
    description: StrictStr | None = None
    rules: dict[str, Any] = Field(alias="schema")
    strict: StrictBool | None = None


class ResponseFormat(Form):
    """What an answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def parameters(self) -> dict[str, Parameter]:
        """The schema as engines take it. Raises Refusal."""
        if self.type == "text":
            return {}
        if self.type == "json_object":
            return {"json_schema": '{"type": "object"}'}
        if self.json_schema is None:
            raise invalid("response_format.json_schema: is missing")
        try:
            return {"json_schema": json.dumps(self.json_schema.rules)}
        except RecursionError:
            raise invalid("response_format.json_schema: it is nested too deeply") from None


class StreamOptions(Form):
    """What a stream tells beside the text."""

    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


class Sampled(Asking):
    """What both kinds of completion read; further parameters are those of the model's engine."""

    task: ClassVar[str] = "txt2txt"
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[StrictInt, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: StrictInt | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    stop: StrictStr | list[StrictStr] | None = None
    seed: StrictInt | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    repeat_penalty: Number | None = None
    grammar: StrictStr | None = None
    loras: list[StrictStr] | None = None

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of the request. Raises Refusal."""
        found: dict[str, Parameter] = {}
        for name in _SAMPLING:
            value = getattr(self, name)
            if isinstance(value, list):
                found[name] = tuple(value)
            elif value is not None:
                found[name] = (value,) if name == "stop" else value
        return found

    def asked(self) -> list[tuple[Content, ...]]:
        """The inputs of each request that the body asks for, before `n`."""
        raise NotImplementedError


_SAMPLING = tuple(
    name for name in Sampled.model_fields if name not in ("model", "stream", "stream_options", "n")
)


class ChatBody(Sampled):
    """What `POST /v1/chat/completions` reads."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: StrictInt | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: StrictBool | None = None

    @property
    def suit(self) -> Suit:
        """What a model must be to answer by default."""
        parts = (each.content for each in self.messages if isinstance(each.content, list))
        return Suit(self.task, any(part.type == "image_url" for each in parts for part in each))

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of the request. Raises Refusal."""
        found = super().parameters()
        if self.max_completion_tokens is not None:
            found["max_tokens"] = self.max_completion_tokens
        if self.logprobs:
            found["logprobs"] = self.top_logprobs or 0
        found |= self.response_format.parameters() if self.response_format else {}
        return found | parameters_of(self.tools, self.tool_choice, self.parallel_tool_calls)

    def asked(self) -> list[tuple[Content, ...]]:
        """The conversation, and the images of its last turn behind it. Raises Refusal."""
        turns: list[Content] = []
        images: list[Content] = []
        for place, message in enumerate(self.messages):
            if images:
                raise invalid(f"messages.{place}: images belong to the last message")
            parts = message.content
            if isinstance(parts, list):
                images += [
                    image(f"messages.{place}", part) for part in parts if part.type == "image_url"
                ]
                parts = "\n".join(part.text for part in parts if part.type == "text")
            # OpenAI's newer name for what chat templates call `system`.
            role = "system" if message.role == "developer" else message.role
            if role == "tool" and message.tool_call_id is None:
                raise invalid(f"messages.{place}.tool_call_id: says which call is answered")
            calls = tuple(each.call() for each in message.tool_calls or ()) or None
            turns.append(ChatMessage(role, parts or "", message.name, calls, message.tool_call_id))
        return [(*turns, *images)]


class CompletionBody(Sampled):
    """What `POST /v1/completions` reads; a prompt is continued as it stands."""

    prompt: StrictStr | Annotated[list[StrictStr], Field(min_length=1, max_length=MOST_CHOICES)]
    logprobs: StrictInt | None = None

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of the request."""
        told = {} if self.logprobs is None else {"logprobs": self.logprobs}
        return {**super().parameters(), **told, "template": False}

    def asked(self) -> list[tuple[Content, ...]]:
        """Each prompt."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return [(prompt,) for prompt in prompts]


class EmbeddingBody(Asking):
    """What `POST /v1/embeddings` reads: texts, not numbers of tokens."""

    task: ClassVar[str] = "txt2embed"
    input: StrictStr | Annotated[list[StrictStr], Field(min_length=1, max_length=MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: StrictInt | None = None

    def texts(self) -> list[str]:
        """The texts, one at least."""
        return [self.input] if isinstance(self.input, str) else self.input


class Document(Form):
    """A document as an object."""

    text: StrictStr


class RerankBody(Asking):
    """What `POST /v1/rerank` reads, as Jina and Cohere have named it."""

    task: ClassVar[str] = "rerank"
    query: StrictStr
    documents: Annotated[list[StrictStr | Document], Field(min_length=1, max_length=MOST_TEXTS)]
    top_n: Annotated[StrictInt, Field(ge=1)] | None = None
    return_documents: StrictBool = False

    def texts(self) -> list[str]:
        """The documents."""
        return [each if isinstance(each, str) else each.text for each in self.documents]


class ImageBody(Asking):
    """What `POST /v1/images/generations` reads; further fields are those of the model's engine."""

    task: ClassVar[str] = "txt2img"
    prompt: StrictStr
    n: Annotated[StrictInt, Field(ge=1, le=MOST_CHOICES)] | None = None
    size: StrictStr | None = None
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png"] = "png"
    seed: StrictInt | None = None
    steps: StrictInt | None = None
    guidance: Number | None = None
    negative_prompt: StrictStr | None = None
    scheduler: StrictStr | None = None
    loras: list[StrictStr] | None = None

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of the request."""
        found: dict[str, Parameter] = {
            name: getattr(self, name)
            for name in _IMAGE_PARAMETERS
            if getattr(self, name) is not None
        }
        if self.size == "auto":
            del found["size"]
        return found | ({"loras": tuple(self.loras)} if self.loras else {})


_IMAGE_PARAMETERS = ("size", "seed", "steps", "guidance", "negative_prompt", "scheduler")
