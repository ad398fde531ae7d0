"""What becomes of a row: a value, or why there is none."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelmora.errors import ModelMoraError
from modelmora.messages import Content, Tensor
from modelmora.wire.forms import content_form
from modelmora.wire.tensors import BadTensor, check_tensor, to_nested


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector, as little-endian float32."""

    data: bytes

    def numbers(self) -> list[float]:
        """Its numbers."""
        found = array("f")
        found.frombytes(self.data)
        return found.tolist()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no value."""

    code: str
    message: str


Value = Vector | Failure | Any
"""Any other is what JSON has of an output."""


def values_of(outputs: Sequence[Content], rows: int) -> list[Value]:
    """The value of each row. Raises ModelMoraError where outputs are not those of rows."""
    tensors = [each for each in outputs if isinstance(each, Tensor)]
    try:
        if tensors and len(tensors) == len(outputs) and all(_has(each, rows) for each in tensors):
            if len(tensors) > 1:
                nested = {each.name: to_nested(each) for each in tensors}
                return [{name: each[n] for name, each in nested.items()} for n in range(rows)]
            return _rows(tensors[0])
        if len(outputs) == rows:
            return [content_form(each) for each in outputs]
    except BadTensor as error:
        raise ModelMoraError(f"the model's answer is broken: {error}") from None
    raise ModelMoraError(
        f"the model answers {len(outputs)} outputs for {rows} rows; it cannot be asked in bulk"
    )


def _has(tensor: Tensor, rows: int) -> bool:
    return bool(tensor.shape) and tensor.shape[0] == rows


def _rows(tensor: Tensor) -> list[Value]:
    size = 4 * tensor.shape[-1]
    if tensor.dtype != "FP32" or len(tensor.shape) != 2:
        return list(to_nested(tensor))
    check_tensor(tensor)
    return [Vector(tensor.data[at : at + size]) for at in range(0, len(tensor.data), size)]
