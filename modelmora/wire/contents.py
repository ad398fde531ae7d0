"""Contents and other flat messages as fastavro has them, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from modelmora.messages import ChatMessage, Content, ObjectRef, Tensor, ToolCall

_RECORDS: dict[str, type[Any]] = {
    "modelmora.v1.Tensor": Tensor,
    "modelmora.v1.ObjectRef": ObjectRef,
    "modelmora.v1.ChatMessage": ChatMessage,
}
_NAMES = {cls: name for name, cls in _RECORDS.items()}


def plain_contents(contents: Iterable[Content]) -> list[Any]:
    """Contents as they are written."""
    return [
        content if isinstance(content, str | bytes) else (_NAMES[type(content)], shallow(content))
        for content in contents
    ]


def contents_of(values: Iterable[Any]) -> tuple[Content, ...]:
    """Contents as they were read."""
    return tuple(
        _RECORDS[value[0]](**_tupled(value[1])) if isinstance(value, tuple) else value
        for value in values
    )


def shallow(message: Any) -> dict[str, Any]:
    """A message by its fields, its tuples as lists."""
    plain = {field.name: getattr(message, field.name) for field in fields(message)}
    return {k: [*map(_written, v)] if isinstance(v, tuple) else v for k, v in plain.items()}


def _written(item: Any) -> Any:
    return shallow(item) if isinstance(item, ToolCall) else item


def _tupled(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(map(_read, v)) if isinstance(v, list) else v for k, v in values.items()}


def _read(item: Any) -> Any:
    return ToolCall(**item) if isinstance(item, dict) else item
