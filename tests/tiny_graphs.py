"""ONNX graphs of a few hundred bytes, written field by field as onnx.proto numbers them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

FLOAT, INT64, STRING, BOOL, BFLOAT16 = 1, 7, 8, 9, 16
Size = int | str


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def put(number: int, value: int | str | bytes) -> bytes:
    """One field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def port(name: str, kind: int, sizes: Sequence[Size] | None) -> bytes:
    """A ValueInfoProto of a tensor."""
    shape = b""
    if sizes is not None:
        dimensions = [put(1, put(1 if isinstance(size, int) else 2, size)) for size in sizes]
        shape = put(2, b"".join(dimensions))
    return put(1, name) + put(2, put(1, put(1, kind) + shape))


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "") -> bytes:
    """A NodeProto without attributes."""
    parts = [put(1, name) for name in inputs] + [put(2, name) for name in outputs]
    return b"".join(parts) + put(4, operator) + (put(7, domain) if domain else b"")


def weights(name: str, values: Sequence[float], beside: Mapping[str, str] | None = None) -> bytes:
    """A TensorProto of floats, or one whose data lie in the file that `beside` describes."""
    body = put(1, len(values)) + put(2, FLOAT) + put(8, name)
    if beside is None:
        return body + put(9, struct.pack(f"<{len(values)}f", *values))
    entries = [put(13, put(1, key) + put(2, value)) for key, value in beside.items()]
    return body + b"".join(entries) + put(14, 1)


def table(name: str, rows: Sequence[Sequence[float]]) -> bytes:
    """A TensorProto of two axes."""
    flat = [value for row in rows for value in row]
    shape = put(1, len(rows)) + put(1, len(rows[0]))
    raw = put(9, struct.pack(f"<{len(flat)}f", *flat))
    return shape + put(2, FLOAT) + put(8, name) + raw


def axes(name: str, *numbers: int) -> bytes:
    """A TensorProto of INT64."""
    raw = put(9, struct.pack(f"<{len(numbers)}q", *numbers))
    return put(1, len(numbers)) + put(2, INT64) + put(8, name) + raw


def model(
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    constants: Sequence[bytes] = (),
) -> bytes:
    """A ModelProto of operator set 17."""
    graph = b"".join(
        put(number, part)
        for number, parts in ((1, nodes), (5, constants), (11, inputs), (12, outputs))
        for part in parts
    )
    return put(1, 8) + put(8, put(2, 17)) + put(7, graph + put(2, "g"))


def scaled(batch: Size = "batch") -> bytes:
    """y = x * [1, 2, 3], for x of [batch, 3]."""
    return model(
        [node("Mul", ["x", "w"], ["y"])],
        [port("x", FLOAT, [batch, 3])],
        [port("y", FLOAT, [batch, 3])],
        [weights("w", [1, 2, 3])],
    )


def make_graph(folder: Path, content: bytes) -> Path:
    """A folder with that model.onnx."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    return folder
