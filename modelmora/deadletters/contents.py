"""What a caller sent, for people who asked to see it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from modelmora.errors import Undecodable
from modelmora.messages import ChatMessage, Content, ObjectRef, Tensor
from modelmora.text import printable, shorten
from modelmora.wire import decode_request, readable_head

TEXT = 200
"""Characters of a text that are shown."""


def told_request(value: bytes | None) -> dict[str, Any]:
    """The request in a record's value (single-object encoding) as JSON, long inputs in short.

    As much of it as can be read, and under `fault` why not more.
    """
    try:
        whole = decode_request(value)
    except Undecodable as error:
        head = readable_head(value)
        fault: dict[str, Any] = {"fault": error.message}
        if head is None:
            return fault | {"begins": shorten(printable((value or b"")[:TEXT]), TEXT)}
        return asdict(head) | fault
    return asdict(whole) | {"inputs": [_told(each) for each in whole.inputs]}


def _told(content: Content) -> Any:
    match content:
        case str():
            return shorten(content, TEXT)
        case bytes():
            return {"bytes": len(content)}
        case Tensor():
            return asdict(content) | {"data": {"bytes": len(content.data)}}
        case ChatMessage():
            told = asdict(content) | {"content": shorten(content.content, TEXT)}
            return {name: value for name, value in told.items() if value is not None}
        case ObjectRef():
            return asdict(content)
