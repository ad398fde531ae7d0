"""Small pictures: pixels to PNG and back, and as blocks of colour on a terminal."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

from rich.color import Color
from rich.style import Style
from rich.text import Text

from modelmora.errors import ModelMoraError

# PNG (Third Edition), W3C 2025: https://www.w3.org/TR/png-3/
_MAGIC = b"\x89PNG\r\n\x1a\n"
_RGB = (8, 2, 0, 0, 0)
"""Eight bits for each of red, green and blue, not interlaced."""
Pixel = tuple[int, int, int]


def to_png(rows: Sequence[Sequence[Pixel]]) -> bytes:
    """A picture of these rows, the first on top."""
    lines = b"".join(b"\0" + bytes(part for pixel in row for part in pixel) for row in rows)
    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), *_RGB)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return _MAGIC + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def from_png(png: bytes) -> list[list[Pixel]]:
    """The rows of a picture. Raises ModelMoraError where it is none, or not of 8-bit RGB."""
    try:
        chunks = list(_chunks(png))
        wide, high, *form = struct.unpack(">IIBBBBB", chunks[0][1])
        if tuple(form) != _RGB:
            raise ModelMoraError("this PNG picture is not one of 8-bit RGB")
        packed = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
        lines = list(_unfiltered(packed, wide * 3, high))
    except (struct.error, zlib.error, IndexError, ValueError):
        raise ModelMoraError("this is no whole PNG picture") from None
    return [[(line[x], line[x + 1], line[x + 2]) for x in range(0, wide * 3, 3)] for line in lines]


def blocks(rows: Sequence[Sequence[Pixel]]) -> Iterator[Text]:
    """Lines for a terminal, each of two rows of pixels: half a block is a pixel."""
    for above, below in zip(rows[::2], rows[1::2], strict=False):
        line = Text()
        for upper, lower in zip(above, below, strict=True):
            line.append("▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        yield line


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_MAGIC)
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        yield kind, png[at + 8 : at + 8 + size]
        at += size + 12


def _unfiltered(packed: bytes, width: int, height: int) -> Iterator[bytes]:
    """Lines as they were before each byte was told by its neighbours (section 9)."""
    above = bytes(width)
    for start in range(0, height * (width + 1), width + 1):
        kind, line = packed[start], bytearray(packed[start + 1 : start + 1 + width])
        for at in range(width):
            left, corner = (line[at - 3], above[at - 3]) if at >= 3 else (0, 0)
            line[at] = (line[at] + _guess(kind, left, above[at], corner)) % 256
        yield bytes(line)
        above = bytes(line)


def _guess(kind: int, left: int, above: int, corner: int) -> int:
    """What a filter takes a byte for: nothing, its left, its upper, both, or Paeth's choice."""
    paeth = left + above - corner
    nearest = min((left, above, corner), key=lambda each: abs(paeth - each))
    return (0, left, above, (left + above) // 2, nearest)[kind]
