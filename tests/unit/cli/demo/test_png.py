"""Pictures are those that Pillow reads and writes; others are refused in a line."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelmora.cli.demo.png import blocks, from_png, to_png
from modelmora.errors import ModelMoraError

HIGH, WIDE = 24, 20
Rows = list[list[tuple[int, int, int]]]


def picture() -> np.ndarray[Any, Any]:
    """Lines of noise, like the line above, and of slopes: each has another best filter."""
    numbers = np.random.default_rng(0)
    image = np.zeros((HIGH, WIDE, 3), "u1")
    image[:4] = numbers.integers(0, 256, (4, WIDE, 3))
    image[4:10] = image[3]
    slope = np.arange(WIDE)[:, None]
    image[10:14] = 10 * slope + numbers.integers(0, 3, (4, WIDE, 3))
    down = np.arange(10)[:, None, None]
    image[14:] = 5 * slope + 9 * down + numbers.integers(0, 4, (10, WIDE, 3))
    return image


def rows_of(image: np.ndarray[Any, Any]) -> Rows:
    return [[(int(r), int(g), int(b)) for r, g, b in row] for row in image]


def saved(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_pixels_come_out_as_they_went_in() -> None:
    image = picture()
    png = saved(Image.fromarray(image))
    filters = zlib.decompress(png[png.index(b"IDAT") + 4 : -16])[:: WIDE * 3 + 1]
    assert set(filters) == {0, 1, 2, 4}, "each that Pillow writes"
    assert from_png(png) == rows_of(image)
    again = to_png(rows_of(image))
    assert from_png(again) == rows_of(image)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(again))), image)


def test_a_byte_may_be_told_from_the_mean_of_its_neighbours() -> None:
    """Filter 3, which Pillow reads and does not write."""
    plain = to_png(rows_of(picture()))
    at = plain.index(b"IDAT")
    lines = bytearray(zlib.decompress(plain[at + 4 : -16]))
    lines[:: WIDE * 3 + 1] = b"\3" * HIGH
    body = zlib.compress(lines)
    total = struct.pack(">I", zlib.crc32(b"IDAT" + body))
    png = plain[: at - 4] + struct.pack(">I", len(body)) + b"IDAT" + body + total + plain[-12:]
    assert from_png(png) == rows_of(np.asarray(Image.open(io.BytesIO(png))))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_forms_are_refused(mode: str) -> None:
    with pytest.raises(ModelMoraError, match="not one of 8-bit RGB"):
        from_png(saved(Image.fromarray(picture()).convert(mode)))


def test_what_is_no_picture_is_refused() -> None:
    png = to_png(rows_of(picture()))
    for cut in (b"", b"no picture", png[:20], png[:60], png[:-30]):
        with pytest.raises(ModelMoraError, match="no whole PNG"):
            from_png(cut)


def test_half_a_block_is_a_pixel() -> None:
    lines = list(blocks([[(1, 2, 3)], [(4, 5, 6)], [(7, 8, 9)], [(0, 0, 0)]]))
    assert [line.plain for line in lines] == ["▀", "▀"]
    assert [str(span.style) for line in lines for span in line.spans] == [
        "#010203 on #040506",
        "#070809 on #000000",
    ]
