"""What a model's files tell without any model library, and whether they are whole."""

from __future__ import annotations

import json
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from modelmora.engines.base import LoadError
from modelmora.errors import Code
from modelmora.messages import DeviceKind
from modelmora.text import size

WEIGHTS = "model.safetensors"
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000  # more is refused by safetensors itself

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model as its files describe it."""

    weight_bytes: int
    row_bytes: int | None = None
    """Bytes of the outputs of one input; None where the files do not tell."""
    engine: str | None = None
    """`module:Class`, where the task has several engines and the files decide."""
    modules: tuple[str, ...] = ()
    """What its processes need beside the entry's, imported once before they start."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a user asks of a model, by name: dimension, labels, max_tokens."""
    cache_bytes: int = 0
    """What it reserves beside the weights, such as a cache of tokens."""
    devices: tuple[DeviceKind, ...] | None = None
    """The kinds that it computes on, where they are not all of the entry's."""


def broken(message: str) -> LoadError:
    """What is said of files that must be mended before the model can be loaded."""
    return LoadError(Code.CANNOT_BE_SERVED, message)


def read_bytes(path: Path) -> bytes | None:
    """The content of a file; None where there is none. Raises LoadError."""
    try:
        with opened(path) as file:
            return file.read()
    except FileNotFoundError:
        if path.is_symlink():
            raise broken(f"{path.name} is a link to nothing") from None
        return None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file; to open another kind may take for ever.

    Raises FileNotFoundError, and LoadError for all else that goes wrong with it.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise broken(f"{path.name} is no file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise
    except OSError as error:
        raise broken(f"{path.name} cannot be read: {error.strerror}") from None


def read_json(path: Path, kind: type[Any] = dict) -> Any:
    """The JSON of a file; empty where there is no such file. Raises LoadError."""
    content = read_bytes(path)
    if content is None:
        return kind()
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise broken(f"{path.name} is not valid JSON") from None
    if not isinstance(values, kind):
        raise broken(f"{path.name} does not hold a {kind.__name__}")
    return values


def read_weights(folder: Path, name: str = WEIGHTS) -> tuple[int, Mapping[str, Shape]]:
    """The bytes of the weights in a folder, and the shape of each tensor.

    They are the file of that name, or the shards that its index names. Raises LoadError where one
    is missing or not whole.
    """
    files = [folder / name]
    index = folder / f"{name}.index.json"
    if not _is_there(files[0]) and _is_there(index):
        named = read_json(index).get("weight_map")
        if not isinstance(named, dict) or not named:
            raise broken(f"{index.name} names no file")
        files = [folder / str(name) for name in sorted({*named.values()}, key=str)]
        if any(file.parent != folder for file in files):
            raise broken(f"{index.name} names files outside of the model's folder")
    shapes: dict[str, Shape] = {}
    total = 0
    for file in files:
        length, found = read_header(file)
        total += length
        shapes |= found
    return total, shapes


def _is_there(path: Path) -> bool:
    """Whether the name exists, whatever it is."""
    return path.exists() or path.is_symlink()


def read_header(path: Path) -> tuple[int, Mapping[str, Shape]]:
    """The bytes of a safetensors file and the shape of each tensor; raises LoadError.

    The format: an 8-byte length, so many bytes of JSON, then the tensors without gaps.
    """
    try:
        with opened(path) as file:
            there = path.stat().st_size
            start = file.read(_LENGTH.size)
            length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
            if not 2 <= length <= min(there - _LENGTH.size, _LONGEST_HEADER):
                raise broken(f"{path.name} is cut off or no safetensors file ({size(there)})")
            text = file.read(length)
    except FileNotFoundError:
        raise broken(f"{path.name} is missing") from None
    try:
        tensors = json.loads(text)
        tensors.pop("__metadata__", None)
        places = {name: _place(tensor) for name, tensor in tensors.items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise broken(f"{path.name} has a header that cannot be read") from None
    end = 0
    for begin, after, _ in sorted(places.values()):
        if begin != end:
            raise broken(f"{path.name} has tensors that overlap or leave gaps")
        end = after
    if (whole := _LENGTH.size + length + end) != there:
        raise broken(f"{path.name} has {size(there)} and should have {size(whole)}; copy it again")
    return there, {name: shape for name, (_, _, shape) in places.items()}


def _place(tensor: Mapping[str, Any]) -> tuple[int, int, Shape]:
    """Begin, end and shape. Raises one of several errors for what is no tensor."""
    begin, end = tensor["data_offsets"]
    shape = tuple(tensor["shape"])
    numbers = (begin, end, *shape)
    if not all(type(number) is int and number >= 0 for number in numbers) or end < begin:
        raise ValueError("no places")
    bits = _bits(tensor["dtype"])
    if bits is not None and (end - begin) * 8 != prod(shape) * bits:
        raise ValueError("not so many elements")
    return begin, end, shape


def _bits(dtype: str) -> int | None:
    """Of one element; None for a type that is not known here."""
    if dtype == "BOOL":
        return 8
    number = dtype.lstrip("BFIU")
    return int(number) if number.isdecimal() else None
