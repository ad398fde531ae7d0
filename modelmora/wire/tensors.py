"""Tensors as nested lists and as little-endian bytes, without numpy.

Element types are those of the Open Inference Protocol; BYTES elements each follow their length
(unsigned, 4 bytes, little-endian). BF16 is the upper half of FP32, rounded to nearest even.
What JSON has no number for is a string, as in the JSON of Protocol Buffers: "NaN", "Infinity",
"-Infinity".
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from modelmora.messages import Tensor

_CODES = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP32": "f",
    "FP64": "d",
}
FLOATS = ("FP16", "BF16", "FP32", "FP64")
_SPELLING = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_SPELLED = {spelling: float(word) for word, spelling in _SPELLING.items()}
SIZES = {
    "BOOL": 1,
    "FP16": 2,
    "BF16": 2,
    **{name: array(code).itemsize for name, code in _CODES.items()},
}
DTYPES = (*SIZES, "BYTES")
MAX_DIMENSIONS = 32
MAX_EMPTY = 100_000  # a shape such as [1000000000, 0] has no bytes but as many lists


class BadTensor(ValueError):
    """The tensor contradicts itself; the text says how, without its content."""


def check_tensor(tensor: Tensor) -> Tensor:
    """The tensor itself; raises BadTensor where type, shape and bytes do not fit together."""
    count = _count(tensor.dtype, tensor.shape)
    if tensor.dtype == "BYTES":
        found = sum(1 for _ in elements(tensor.data))
        if found != count:
            raise BadTensor(f"shape asks for {count} elements, data has {found}")
    elif len(tensor.data) != count * SIZES[tensor.dtype]:
        raise BadTensor(
            f"{tensor.dtype} of this shape is {count * SIZES[tensor.dtype]} bytes, "
            f"data has {len(tensor.data)}"
        )
    return tensor


def from_nested(name: str, dtype: str, shape: Sequence[int], data: list[Any]) -> Tensor:
    """A tensor of a nested (or flat) list. Raises BadTensor."""
    count = _count(dtype, shape)
    flat = data
    if len(shape) != 1 and any(isinstance(item, list) for item in data):
        flat = _flatten(data, tuple(shape))
    if len(flat) != count:
        raise BadTensor(f"shape asks for {count} elements, data has {len(flat)}")
    try:
        packed = _pack(dtype, flat)
    except (KeyError, OverflowError, TypeError, ValueError, struct.error, binascii.Error):
        raise BadTensor(f"an element of data is no {dtype}") from None
    return Tensor(name, dtype, tuple(shape), packed)


def to_nested(tensor: Tensor) -> Any:
    """The elements as nested lists of the tensor's shape; a scalar is a list of one.

    Raises BadTensor.
    """
    check_tensor(tensor)
    code = _CODES.get(tensor.dtype)
    if tensor.dtype in FLOATS:
        return _nest(_spelled(_unpack(tensor.dtype, tensor.data)), tensor.shape)
    if code and sys.byteorder == "little" and tensor.shape and all(tensor.shape):
        return memoryview(tensor.data).cast(code, tensor.shape).tolist()  # type: ignore[call-overload]
    return _nest(_unpack(tensor.dtype, tensor.data), tensor.shape)


def flat(tensor: Tensor) -> list[Any]:
    """The elements one after another, numbers as they are. Raises BadTensor."""
    check_tensor(tensor)
    return _unpack(tensor.dtype, tensor.data)


def _count(dtype: str, shape: Sequence[int]) -> int:
    if dtype not in SIZES and dtype != "BYTES":
        raise BadTensor(f"dtype is one of {', '.join(DTYPES)}")
    if len(shape) > MAX_DIMENSIONS:
        raise BadTensor(f"shape has at most {MAX_DIMENSIONS} dimensions")
    if any(size < 0 for size in shape):
        raise BadTensor("shape has no negative sizes")
    return math.prod(shape)


def _flatten(data: list[Any], shape: tuple[int, ...]) -> list[Any]:
    level: list[Any] = [data]
    for size in shape:
        if any(not isinstance(item, list) or len(item) != size for item in level):
            raise BadTensor("data is not nested as shape says")
        level = [element for item in level for element in item]
    return level


def _nest(flat: list[Any], shape: Sequence[int]) -> Any:
    if 0 in shape:
        if math.prod(shape[: list(shape).index(0)]) > MAX_EMPTY:
            raise BadTensor("shape asks for too many empty lists")
        return _empty(shape)
    for size in reversed(shape[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)]
    return flat


def _empty(shape: Sequence[int]) -> list[Any]:
    return [_empty(shape[1:]) for _ in range(shape[0])]


def _pack(dtype: str, flat: list[Any]) -> bytes:
    if dtype == "BYTES":
        return b"".join(_framed(item) for item in flat)
    if dtype == "BOOL":
        if not all(isinstance(item, bool) for item in flat):
            raise TypeError(dtype)
        return bytes(flat)
    if any(isinstance(item, bool) for item in flat):
        raise TypeError(dtype)
    if dtype in FLOATS:
        return _pack_floats(dtype, flat)
    return _little(array(_CODES[dtype], flat)).tobytes()


def _pack_floats(dtype: str, flat: list[Any]) -> bytes:
    numbers = [_SPELLED[item] if isinstance(item, str) else item for item in flat]
    if dtype == "FP16":
        packed = struct.pack(f"<{len(numbers)}e", *numbers)
    elif dtype == "BF16":
        packed = _to_bf16(numbers)
    else:
        packed = _little(array(_CODES[dtype], numbers)).tobytes()
    values = _unpack(dtype, packed)
    # A number that is too large has become infinite in silence.
    if not math.isfinite(sum(values)) and any(
        not math.isfinite(value)
        for value, item in zip(values, flat, strict=True)
        if not isinstance(item, str)
    ):
        raise OverflowError(dtype)
    return packed


def _spelled(flat: list[float]) -> list[Any]:
    if math.isfinite(sum(flat)):  # nearly always, and found fast
        return flat
    return [value if math.isfinite(value) else _SPELLING[str(value)] for value in flat]


def _unpack(dtype: str, data: bytes) -> list[Any]:
    if dtype == "BYTES":
        return [_readable(item) for item in elements(data)]
    if dtype == "BOOL":
        return [item != 0 for item in data]
    if dtype == "FP16":
        return list(struct.unpack(f"<{len(data) // 2}e", data))
    if dtype == "BF16":
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[0::2], data[1::2]
        dtype, data = "FP32", bytes(wide)
    values = array(_CODES[dtype])
    values.frombytes(data)
    return _little(values).tolist()


def _little(values: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _to_bf16(flat: list[Any]) -> bytes:
    words = memoryview(array("f", flat)).cast("B").cast("I")
    rounded = array(
        "H",
        (
            (word >> 16) | 0x40
            if word & 0x7FFFFFFF > 0x7F800000  # NaN stays NaN
            else (word + 0x7FFF + (word >> 16 & 1)) >> 16
            for word in words
        ),
    )
    return _little(rounded).tobytes()


def _framed(item: Any) -> bytes:
    match item:
        case str():
            raw = item.encode()
        case {"bytes": str(encoded), **rest} if not rest:
            raw = base64.b64decode(encoded, validate=True)
        case _:
            raise TypeError("BYTES")
    return framed(raw)


def framed(raw: bytes) -> bytes:
    """One element of a BYTES tensor."""
    return len(raw).to_bytes(4, "little") + raw


def _readable(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"bytes": base64.b64encode(raw).decode()}


def elements(data: bytes) -> Iterator[bytes]:
    """The elements of a BYTES tensor. Raises BadTensor."""
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            raise BadTensor("a BYTES element is longer than data")
        yield data[at + 4 : end]
        at = end
