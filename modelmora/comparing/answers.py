"""An outcome as it is compared: how it ended, what it took, what must be kept of its outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, TypeAlias

from modelmora.budgets.costs import used_by
from modelmora.comparing.pictures import Look, look
from modelmora.messages import (
    ChatMessage,
    Content,
    InferenceResult,
    ObjectRef,
    Status,
    Tensor,
    is_final,
)


class Kind(StrEnum):
    """What an outcome is made of, which says how it is compared."""

    VECTORS = "vectors"
    CLASSES = "classes"
    SCORES = "scores"
    TEXTS = "texts"
    PICTURES = "pictures"
    TENSORS = "tensors"
    OTHERS = "others"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes by their digest and size, and what they look like, if they are a picture."""

    digest: str
    size: int
    look: Look | None = None


Part: TypeAlias = str | Tensor | Blob


@dataclass(frozen=True, slots=True)
class Answer:
    """One outcome, without what is not compared; `error` is its code, "" for none.

    `device_ms` is what the device computed for it, `tokens` and `pixels` what it says of itself.
    `final`: it says something of the model, and not of a lack of room or time. `alone`: it was
    computed by itself, as copies are; what callers get is computed in batches, which take longer.
    """

    model: str
    status: Status
    error: str
    device_ms: float
    tokens: float
    pixels: float
    parts: tuple[Part, ...]
    kind: Kind
    final: bool
    alone: bool = False

    @classmethod
    def of(cls, result: InferenceResult, *, alone: bool = False) -> Self:
        """What is kept of an outcome."""
        used, parts = used_by(result), tuple(map(_part, result.outputs))
        return cls(
            f"{result.model}@{result.version}",
            result.status,
            result.error.code if result.error else "",
            used.device_ms,
            used.tokens,
            used.pixels,
            parts,
            _kind(parts),
            is_final(result.error),
            alone,
        )

    @property
    def answered(self) -> bool:
        """Whether there is anything to compare."""
        return self.status is Status.COMPLETED


def _part(content: Content) -> Part:
    match content:
        case ChatMessage():
            return _said(content)
        case ObjectRef():
            return Blob(content.sha256, content.size)
        case bytes():
            return Blob(hashlib.sha256(content).hexdigest(), len(content), look(content))
    return content


def _said(message: ChatMessage) -> str:
    """A turn as a text; the ids of its calls are made up and say nothing."""
    calls = (f"{call.name}({call.arguments})" for call in message.tool_calls or ())
    return "\n".join([message.content, *calls])


def _kind(found: tuple[Part, ...]) -> Kind:
    if not found:
        return Kind.NOTHING
    if all(isinstance(each, str) for each in found):
        return Kind.TEXTS
    if all(isinstance(each, Blob) for each in found):
        return Kind.PICTURES
    tensors = [each for each in found if isinstance(each, Tensor)]
    if len(tensors) < len(found):
        return Kind.OTHERS
    return _of_tensors({each.name: each for each in tensors})


def _of_tensors(tensors: Mapping[str, Tensor]) -> Kind:
    forms = {name: (each.dtype, len(each.shape)) for name, each in tensors.items()}
    match forms:
        case {"scores": ("FP32", _), "labels": ("BYTES", _), **rest} if not rest:
            return Kind.CLASSES
        case {"embedding": ("FP32", 2), **rest} if not rest:
            return Kind.VECTORS
        case {"scores": ("FP32", 1), **rest} if not rest:
            return Kind.SCORES
    return Kind.TENSORS
