"""Reads what an ONNX file says of itself: inputs, outputs, operators, where its weights lie.

Only the fields of onnx.proto that are needed are walked, on the bytes of Protocol Buffers, so that
neither ONNX Runtime nor the onnx package is loaded and weights are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import SEEK_END
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from modelmora.engines.files import ModelFiles, broken, opened
from modelmora.text import printable, shorten, size

GRAPH = "model.onnx"
_PLACES = (GRAPH, f"onnx/{GRAPH}")
# Numbers of fields and types: onnx.proto (ModelProto, GraphProto, TensorProto.DataType and so on).
_TYPES = {
    1: "FP32",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "BYTES",
    9: "BOOL",
    10: "FP16",
    11: "FP64",
    12: "UINT32",
    13: "UINT64",
}
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft"})
"""Those whose operators ONNX Runtime has itself."""
_DEEPEST = 16
_LONGEST_TEXT = 1 << 16


class _Part(NamedTuple):
    """Bytes of a file: a message or a string. They are read where they lie, not copied."""

    file: BinaryIO
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output: its OIP type, and its sizes, which are names where any size will do."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None
    """None where the graph does not tell."""

    def __str__(self) -> str:
        """As people read it: `x FP32 [batch, 3]`."""
        sizes = "of any shape" if self.shape is None else f"[{', '.join(map(str, self.shape))}]"
        return f"{shorten(printable(self.name), 40)} {self.dtype} {sizes}"


@dataclass(frozen=True, slots=True)
class Graph:
    """What a session needs and gives; `weight_bytes` counts the graph and the files beside it."""

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weight_bytes: int
    tables: Mapping[str, tuple[int, ...]]
    """Weights of two axes that are called embeddings, under the names that torch gave them."""

    def rows(self, name: str) -> int | None:
        """Of the table whose name ends so."""
        return next((shape[0] for key, shape in self.tables.items() if key.endswith(name)), None)


@dataclass(slots=True)
class _Found:
    """What was met on the walk."""

    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    constants: set[str] = field(default_factory=set)
    tables: dict[str, tuple[int, ...]] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    weights: dict[str, int] = field(default_factory=dict)
    """Files beside the graph, and how long each must be."""


def read_files(path: Path) -> ModelFiles:
    """What the node needs to know of a model before it is loaded. Raises LoadError."""
    graph = read_graph(path)
    facts = {"inputs": named(graph.inputs), "outputs": named(graph.outputs)}
    return ModelFiles(graph.weight_bytes, facts=facts)


def find_graph(folder: Path) -> Path:
    """The ONNX file of a folder: `model.onnx`, that in `onnx/`, or the only one there is.

    A path of a file is that file. Raises LoadError.
    """
    if folder.is_file():
        return folder
    for place in _PLACES:
        if (folder / place).exists():
            return folder / place
    found = sorted(folder.glob("*.onnx"))
    if len(found) != 1:
        raise broken(f"the model has {'several' if found else 'no'} *.onnx and no {GRAPH}")
    return found[0]


def read_graph(folder: Path) -> Graph:
    """The graph of a folder.

    Raises LoadError (cannot_be_served): it is cut off or not whole, has operators that ONNX Runtime
    lacks, weights outside of the folder, or inputs and outputs that are no tensors.
    """
    path = find_graph(folder)
    found = _Found()
    length = 0
    try:
        with opened(path) as file:
            length = file.seek(0, SEEK_END)
            _read_model(_Part(file, 0, length), found)
    except FileNotFoundError:
        raise broken(f"{path.name} is missing") from None
    except (IndexError, KeyError, TypeError, ValueError):
        raise broken(f"{path.name} is cut off or no ONNX file ({size(length)})") from None
    if not found.outputs:
        raise broken(f"{path.name} is no ONNX file: it has no outputs")
    if strange := sorted(found.domains - _DOMAINS - found.functions):
        raise broken(
            f"it needs operators of {shorten(printable(strange[0]), 60)!r}, which ONNX Runtime "
            "lacks; libraries of operators are never loaded"
        )
    length += sum(_beside(path, name, least) for name, least in found.weights.items())
    # Older graphs list their weights among the inputs.
    inputs = tuple(port for port in found.inputs if port.name not in found.constants)
    return Graph(path, inputs, tuple(found.outputs), length, found.tables)


def _beside(path: Path, name: str, least: int) -> int:
    """The bytes of a file with weights; raises LoadError unless it lies beside the graph, whole."""
    told = shorten(printable(name), 60)
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\\" in name or not place.name:
        raise broken(f"{path.name} takes weights from {told!r}, outside of the model's folder")
    try:
        with opened(path.parent / name) as file:
            there = file.seek(0, SEEK_END)
    except (FileNotFoundError, ValueError):
        raise broken(f"{path.name} takes weights from {told!r}, which is missing") from None
    if there < least:
        raise broken(f"{told} has {size(there)} and should have {size(least)}; copy it again")
    return there


def _read_model(model: _Part, found: _Found) -> None:
    for number, value in _fields(model):
        if number == 7:
            _read_graph(_part(value), found, 0)
        elif number == 25:  # a function of the model's own
            for part, inner in _fields(_part(value)):
                if part == 10:
                    found.functions.add(_text(inner))
                elif part == 7:
                    _read_node(_part(inner), found, 1)


def _read_graph(graph: _Part, found: _Found, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    for number, value in _fields(graph):
        if number == 1:
            _read_node(_part(value), found, depth)
        elif number == 5:
            _read_tensor(_part(value), found)
        elif number == 15:
            for part, inner in _fields(_part(value)):
                if part in (1, 2):
                    _read_tensor(_part(inner), found)
        elif number in (11, 12) and depth == 0:
            (found.inputs if number == 11 else found.outputs).append(_read_port(_part(value)))


def _read_node(node: _Part, found: _Found, depth: int) -> None:
    for number, value in _fields(node):
        if number == 7:
            found.domains.add(_text(value))
        elif number == 5:
            for part, inner in _fields(_part(value)):
                if part in (5, 10):
                    _read_tensor(_part(inner), found)
                elif part in (6, 11):
                    _read_graph(_part(inner), found, depth + 1)


def _read_tensor(tensor: _Part, found: _Found) -> None:
    """Its name is a constant's; one whose data lie elsewhere names a file."""
    elsewhere: dict[str, str] = {}
    shape: list[int] = []
    name = ""
    for number, value in _fields(tensor):
        if number == 8:
            name = _text(value)
            found.constants.add(name)
        elif number == 1:
            shape += [value] if isinstance(value, int) else _varints(value)
        elif number == 13:
            entry = dict(_fields(_part(value)))
            elsewhere[_text(entry[1])] = _text(entry[2])
    if len(shape) == 2 and "embeddings." in name:
        found.tables[name.removesuffix("_quantized")] = tuple(shape)
    if elsewhere:
        place = elsewhere.get("location", "")
        end = int(elsewhere.get("offset", 0)) + int(elsewhere.get("length", 0))
        found.weights[place] = max(end, found.weights.get(place, 0))


def _read_port(port: _Part) -> Port:
    fields = dict(_fields(port))
    name = _text(fields[1])
    kind = dict(_fields(_part(fields[2])))
    if 1 not in kind:
        raise broken(f"{shorten(printable(name), 60)!r} is no tensor, and no other is served")
    tensor = dict(_fields(_part(kind[1])))
    number = tensor.get(1)
    dtype = _TYPES.get(number) if isinstance(number, int) else None
    if dtype is None:
        raise broken(
            f"{shorten(printable(name), 60)!r} has elements of a type that does not travel; "
            f"served are {', '.join(_TYPES.values())}"
        )
    return Port(name, dtype, _read_shape(_part(tensor[2])) if 2 in tensor else None)


def _read_shape(shape: _Part) -> tuple[int | str, ...]:
    sizes: list[int | str] = []
    for number, value in _fields(shape):
        if number == 1:
            dimension = dict(_fields(_part(value)))
            told = dimension.get(1)
            name = _text(dimension[2]) if 2 in dimension else ""
            sizes.append(told if isinstance(told, int) and told >= 0 else name or "?")
    return tuple(sizes)


def _fields(message: _Part) -> Iterator[tuple[int, int | _Part]]:
    """The numbered fields of a message. Raises ValueError where one does not fit in it.

    The format: a varint of (number << 3 | kind), then a varint (kind 0), 8 bytes (1), 4 bytes (5),
    or a length and so many bytes (2).
    """
    file, at, end = message
    while at < end:
        file.seek(at)
        key = _varint(file)
        kind = key & 7
        if kind == 0:
            value: int | _Part = _varint(file)
            at = file.tell()
        else:
            length = _varint(file) if kind == 2 else {1: 8, 5: 4}[kind]
            start = file.tell()
            at = start + length
            value = _Part(file, start, at)
        if at > end:
            raise ValueError("cut off")
        yield key >> 3, value


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value - (1 << 64) if value >> 63 else value


def _varints(packed: _Part) -> list[int]:
    """Numbers without fields of their own; no shape has many."""
    file, start, end = packed
    found: list[int] = []
    file.seek(start)
    while file.tell() < end and len(found) < _DEEPEST:
        found.append(_varint(file))
    return found


def _part(value: int | _Part) -> _Part:
    if isinstance(value, int):
        raise TypeError("a number in the place of a message")
    return value


def _text(value: int | _Part) -> str:
    file, start, end = _part(value)
    if end - start > _LONGEST_TEXT:
        raise ValueError("no name is so long")
    file.seek(start)
    return file.read(end - start).decode()


def named(ports: Sequence[Port]) -> str:
    """Ports as one line."""
    return "; ".join(map(str, ports)) or "nothing"
