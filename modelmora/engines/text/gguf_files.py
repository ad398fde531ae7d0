"""What the header of a GGUF file tells without any model library, and whether the file is whole.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from modelmora.engines.files import broken, opened
from modelmora.text import size

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_MOST = 1 << 20
"""Keys, tensors, and bytes of a name; files have thousands."""
_LONGEST = 1 << 24
"""Bytes of one string that is a value, such as a chat template."""
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f",
    7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_KEPT = 512
"""Arrays of numbers up to this length are kept, such as the heads of each layer."""
# Elements and bytes of a block, by the number of ggml's type.
BLOCKS: Mapping[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4),
    27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66),
    39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A GGUF file as its header describes it; long arrays of `values` are left out.

    `lengths` is how many elements each array has.
    """

    values: Mapping[str, Any]
    lengths: Mapping[str, int]
    tensors: int
    bytes: int
    outer: frozenset[str] = frozenset()
    """The names of tensors that belong to no layer."""

    @property
    def architecture(self) -> str:
        """`general.architecture`, the prefix of the architecture's own keys."""
        return str(self.values.get("general.architecture", ""))

    def number(self, key: str) -> int | None:
        """An integer of the architecture's own, such as `context_length`."""
        found = self.values.get(f"{self.architecture}.{key}")
        return found if type(found) is int and found > 0 else None


def read_gguf(path: Path) -> GgufHeader:
    """The header of one file, checked against its length. Raises LoadError."""
    try:
        with opened(path) as file:
            there = path.stat().st_size
            return _Reader(file, path.name, there).header()
    except FileNotFoundError:
        raise broken(f"{path.name} is missing") from None


class _Reader:
    def __init__(self, file: BinaryIO, name: str, there: int) -> None:
        self._file, self._name, self._there = file, name, there

    def header(self) -> GgufHeader:
        if self._file.read(4) != MAGIC:
            raise broken(f"{self._name} is no GGUF file ({size(self._there)})")
        version = self._number("<I")
        if version not in VERSIONS:
            raise broken(f"{self._name} has GGUF version {version}; read are versions 2 and 3")
        tensors, keys = self._count(), self._count()
        values: dict[str, Any] = {}
        lengths: dict[str, int] = {}
        for _ in range(keys):
            name = self._text(_MOST)
            kind = self._number("<I")
            if kind == _ARRAY:
                lengths[name], kept = self._array()
                if kept is not None:
                    values[name] = kept
            else:
                values[name] = self._value(kind)
        self._outer: set[str] = set()
        ends = [self._tensor() for _ in range(tensors)]
        alignment = values.get("general.alignment", 32)
        if type(alignment) is not int or not 1 <= alignment <= _MOST:
            raise self._lies("alignment")
        start = -(-self._file.tell() // alignment) * alignment
        self._check_places(sorted(ends), start)
        return GgufHeader(values, lengths, tensors, self._there, frozenset(self._outer))

    def _check_places(self, places: list[tuple[int, int]], start: int) -> None:
        end = 0
        for begin, after in places:
            if begin < end:
                raise broken(f"{self._name} has tensors that overlap")
            end = after
        if start + end > self._there and places:
            raise broken(
                f"{self._name} has {size(self._there)} and should have {size(start + end)}; "
                "copy it again"
            )

    def _tensor(self) -> tuple[int, int]:
        """Where it begins and ends, from the start of the data."""
        name = self._text(_MOST)
        if not name.startswith("blk."):
            self._outer.add(name)
        axes = self._number("<I")
        if axes > 8:
            raise self._lies("tensor")
        elements = prod(self._number("<Q") for _ in range(axes))
        kind, begin = self._number("<I"), self._number("<Q")
        block, width = BLOCKS.get(kind, (1, 0))  # of a type that is not known, the begin is checked
        return begin, begin + -(-elements // block) * width

    def _array(self) -> tuple[int, list[Any] | None]:
        kind, length = self._number("<I"), self._number("<Q")
        if length > self._there:
            raise self._lies("array")
        if kind == _STRING:
            for _ in range(length):
                self._skip(self._number("<Q"))
            return length, None
        form = self._form(kind)
        if length > _KEPT:
            self._skip(length * struct.calcsize(form))
            return length, None
        return length, [self._number(form) for _ in range(length)]

    def _value(self, kind: int) -> Any:
        return self._text(_LONGEST) if kind == _STRING else self._number(self._form(kind))

    def _form(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise self._lies("value")
        return _SCALARS[kind]

    def _count(self) -> int:
        count: int = self._number("<Q")
        if count > _MOST:
            raise self._lies("count")
        return count

    def _text(self, most: int) -> str:
        length = self._number("<Q")
        if length > most:
            raise self._lies("string")
        return self._bytes(length).decode("utf-8", "replace")

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _bytes(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) != count:
            raise broken(f"{self._name} is cut off ({size(self._there)}); copy it again")
        return found

    def _skip(self, count: int) -> None:
        if self._file.tell() + count > self._there:
            raise broken(f"{self._name} is cut off ({size(self._there)}); copy it again")
        self._file.seek(count, 1)

    def _lies(self, what: str) -> Exception:
        return broken(f"{self._name} has a header that cannot be read (a {what} that is none)")
