"""What a request carries in and a result carries out: text, bytes, tensors, references, chat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Parameter: TypeAlias = bool | int | float | str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A dense tensor: `data` is little-endian in C order; `dtype` is an OIP name (FP32, INT64…)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Content that lies in an object store; `size` in bytes, `expires_at` in Unix ms."""

    uri: str
    sha256: str
    size: int
    media_type: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class SignedRef(ObjectRef):
    """A reference as it is told to whom the content belongs; it is not written to topics so."""

    url: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model wants done: `arguments` is a JSON object as text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation.

    `tool_calls` are those of an assistant; `tool_call_id` says in a turn of role `tool` which call
    it answers, `name` who speaks or which tool.
    """

    role: str
    content: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None


Content: TypeAlias = str | bytes | Tensor | ObjectRef | ChatMessage
