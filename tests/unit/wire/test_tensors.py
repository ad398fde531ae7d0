"""Tensors as nested lists and bytes, against numpy."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from modelmora.messages import Tensor
from modelmora.wire.tensors import (
    FLOATS,
    SIZES,
    BadTensor,
    check_tensor,
    flat,
    from_nested,
    to_nested,
)

NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
BF16_MAX = float(np.uint32(0x7F7F0000).view(np.float32))


def spelled(nested: Any) -> Any:
    """Nested lists with strings for what JSON has no number for."""
    if isinstance(nested, list):
        return [spelled(item) for item in nested]
    return WORDS.get(str(nested), nested)


@pytest.mark.parametrize("dtype", NUMPY)
@given(data=st.data())
def test_bytes_and_lists_are_numpys(dtype: str, data: st.DataObject) -> None:
    array = data.draw(npst.arrays(np.dtype(NUMPY[dtype]).newbyteorder("<"), SHAPES))
    tensor = Tensor("t", dtype, array.shape, array.tobytes())
    nested = to_nested(tensor)
    assert repr(nested) == repr(spelled(array.tolist() if array.shape else [array.tolist()]))
    back = from_nested("t", dtype, array.shape, nested)
    assert np.array_equal(
        np.frombuffer(back.data, array.dtype), array.ravel(), equal_nan=dtype[0] == "F"
    )


def test_every_type_of_fixed_size_has_a_test() -> None:
    assert {*NUMPY, "BF16"} == set(SIZES)


@given(st.floats(-BF16_MAX, BF16_MAX, width=32))
def test_bf16_is_rounded_to_nearest_even(value: float) -> None:
    (word,) = struct.unpack("<I", struct.pack("<f", value))
    tensor = from_nested("t", "BF16", [1], [value])
    (half,) = struct.unpack("<H", tensor.data)
    below, above = word >> 16, (word >> 16) + 1
    rest = word & 0xFFFF
    expected = above if rest > 0x8000 or (rest == 0x8000 and below & 1) else below
    assert half == expected
    (back,) = to_nested(tensor)
    assert struct.pack("<f", back) == struct.pack("<I", half << 16)


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_json_has_no_number_for_is_a_word_both_ways(dtype: str) -> None:
    words = [["NaN", "Infinity"], ["-Infinity", 1.5]]
    assert to_nested(from_nested("t", dtype, [2, 2], words)) == words


@given(st.lists(st.text() | st.binary()))
def test_bytes_elements(items: list[str | bytes]) -> None:
    raw = [item.encode() if isinstance(item, str) else item for item in items]
    data = b"".join(struct.pack("<I", len(item)) + item for item in raw)
    tensor = Tensor("t", "BYTES", (len(raw),), data)
    nested = to_nested(tensor)
    assert from_nested("t", "BYTES", [len(raw)], nested) == tensor


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("FP31", [1], [1]),
        ("INT8", [1], [128]),
        ("INT8", [1], [1.0]),
        ("INT8", [1], [True]),
        ("BOOL", [1], [1]),
        ("FP32", [1], ["1"]),
        ("FP32", [1], ["nan"]),
        ("INT8", [1], ["NaN"]),
        ("FP16", [1], [1e9]),
        ("BF16", [1], [1e39]),
        ("FP32", [1], [1e39]),
        ("FP64", [1], [math.inf]),  # 1e999 in JSON
        ("FP32", [2], [1]),
        ("FP32", [-1], []),
        ("FP32", [2, 1], [[1], 2]),
        ("FP32", [1, 2], [[1], [2]]),
        ("FP32", [1] * 33, [1]),
        ("BYTES", [1], [1]),
        ("BYTES", [1], [{"bytes": "?"}]),
        ("BYTES", [1], [{"bytes": "", "more": 1}]),
    ],
)
def test_contradictions_are_told(dtype: str, shape: list[int], data: list[Any]) -> None:
    with pytest.raises(BadTensor):
        from_nested("t", dtype, shape, data)


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("t", "FP32", (1,), bytes(5)),
        Tensor("t", "BYTES", (1,), b"\x02\x00\x00\x00x"),
        Tensor("t", "BYTES", (2,), b"\x01\x00\x00\x00x"),
        Tensor("t", "NONE", (1,), b"x"),
    ],
)
def test_bytes_that_do_not_fit_are_told(tensor: Tensor) -> None:
    with pytest.raises(BadTensor):
        check_tensor(tensor)


def test_a_shape_without_bytes_does_not_become_a_heap_of_lists() -> None:
    with pytest.raises(BadTensor):
        to_nested(Tensor("t", "FP32", (1_000_000_000, 0), b""))


def test_flat_elements_are_numbers_as_they_are() -> None:
    tensor = from_nested("t", "FP32", [2, 2], [[1, "NaN"], [0.5, "-Infinity"]])
    found = flat(tensor)
    assert found[0::2] == [1, 0.5]
    assert math.isnan(found[1])
    assert found[3] == -math.inf
    with pytest.raises(BadTensor):
        flat(Tensor("t", "FP32", (3,), b"1234"))
