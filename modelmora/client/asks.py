"""What is asked, as messages of gRPC."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from modelmora.errors import Invalid
from modelmora.messages import ChatMessage, Content, Parameter
from modelmora.rpc.contents import parameter_messages, part_of
from modelmora.rpc.v1 import inference_pb2 as pb

Input: TypeAlias = Content | Mapping[str, str] | Path
"""A text, bytes, Tensor, ObjectRef, ChatMessage (or its `role` and `content`), or a file's path."""


def contents_of(inputs: Sequence[Input]) -> list[Content | Path]:
    """The inputs, with messages as such. Raises Invalid for what no model takes."""
    if isinstance(inputs, str | bytes | Mapping | Path):
        raise Invalid("inputs: a list is needed, even for one")
    return [_content(each) for each in inputs]


def _content(given: Input) -> Content | Path:
    if not isinstance(given, Mapping):
        return given
    if given.keys() != {"role", "content"} or not all(isinstance(v, str) for v in given.values()):
        raise Invalid("inputs: a message has `role` and `content`, both texts")
    return ChatMessage(given["role"], given["content"])


def request_of(
    request_id: str,
    model: str,
    inputs: Sequence[Content],
    parameters: Mapping[str, Parameter],
    priority: str = "",
    timeout_ms: int | None = None,
    *,
    progress: bool = False,
) -> Any:
    """The message that asks. Raises Invalid for what no model takes."""
    try:
        return pb.InferRequest(
            request_id=request_id,
            model=model,
            inputs=[part_of(content) for content in inputs],
            parameters=parameter_messages(parameters),
            priority=priority,
            timeout_ms=timeout_ms,
            progress=progress,
        )
    except TypeError as error:
        raise Invalid(f"inputs: {error} is no text, bytes, Tensor, ChatMessage or Path") from None
    except UnicodeError:
        raise no_unicode() from None
    except ValueError as error:
        raise Invalid(
            f"parameters.{error}: a number, text, truth value or list of texts is needed"
        ) from None


def media_type_of(path: Path) -> str:
    """By the file's name."""
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def no_unicode() -> Invalid:
    """Of a text that has no UTF-8."""
    return Invalid("a text is not Unicode: half of a surrogate pair stands alone")
