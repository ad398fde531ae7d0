"""Images of strangers: what is read, and that nothing else gets far."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from modelmora.errors import Code, RequestError
from tests.tiny_classifiers import picture


def decode(content: bytes) -> Any:
    from modelmora.engines.images.pictures import decode

    return decode(content, "input 0")


def saved(image: Any, kind: str = "PNG", **save: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **save)
    return stream.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, body: bytes, *more: bytes) -> bytes:
    """A PNG with such a header, whatever its body holds."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", body)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + data + chunk(b"IEND", b"")


def gif(width: int, height: int, frame: int) -> bytes:
    """A GIF with such a screen and a frame of such a side."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)
    return screen + b"," + struct.pack("<HHHH", 0, 0, frame, frame) + b"\0\x02\x02\x4c\x01\0;"


def bomb(width: int, height: int) -> bytes:
    """Zeros that fill a picture, packed."""
    row = b"\0" * (1 + 3 * width)
    packer = zlib.compressobj(9)
    return png(
        width, height, b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_formats_that_are_read(kind: str) -> None:
    image = decode(picture(30, 20, kind=kind))
    assert (image.mode, image.size) == ("RGB", (30, 20))


@pytest.mark.row("F20")
@pytest.mark.parametrize(
    "kind", ["BMP", "TIFF", "PPM", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "PDF"]
)
def test_formats_that_are_not(kind: str) -> None:
    refused(picture(32, 32, kind=kind), "no image that is read here (PNG, JPEG, WEBP, GIF)")


def refused(content: bytes, words: str) -> None:
    with pytest.raises(RequestError) as refusal:
        decode(content)
    assert refusal.value.code is Code.INVALID_INPUT
    assert refusal.value.message.startswith("input 0 ")
    assert words in refusal.value.message
    assert "\n" not in refusal.value.message


NO_IMAGES: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(10_000),
    "text": b"hello",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run",
    "a signature": b"\x89PNG\r\n\x1a\n",
    "a short header": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0"),
    "no size": png(0, 0, b""),
    "half a WebP": b"RIFF\x10\0\0\0WEBPVP8 ",
    "half a JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "an endless chunk": b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR",
}


@pytest.mark.row("F20")
@pytest.mark.parametrize("content", NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image(content: bytes) -> None:
    refused(content, "input 0 ")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_cut_off(kind: str, share: float) -> None:
    whole = picture(60, 60, kind=kind)
    refused(whole[: int(len(whole) * share)], "input 0 ")


@pytest.mark.row("F20")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_no_byte_turned_over_gets_out(kind: str) -> None:
    whole = bytearray(picture(24, 24, kind=kind))
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        hurt = bytes([*whole[:place], whole[place] ^ 0xFF, *whole[place + 1 :]])
        with suppress(RequestError):
            assert decode(hurt).mode == "RGB"


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a header that lies": (lambda: png(30_000, 30_000, zlib.compress(b"")), "pixels"),
    "many pixels": (lambda: bomb(5001, 4000), "pixels"),
    "the largest numbers": (lambda: png(2**31 - 1, 2**31 - 1, b""), "pixels"),
    "a line": (lambda: png(100_000, 1, zlib.compress(b"\0" * 300_001)), "too narrow"),
    "a wide GIF": (lambda: gif(65535, 65535, 8), "pixels"),
}


@pytest.mark.row("F20")
@pytest.mark.parametrize(("make", "words"), BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_by_their_header(make: Callable[[], bytes], words: str) -> None:
    from modelmora.engines.images.pictures import size_of

    content = make()
    refused(content, words)
    with pytest.raises(RequestError):
        size_of(content, "input 0")


@pytest.mark.row("F20")
def test_a_frame_larger_than_its_gif() -> None:
    refused(gif(8, 8, 65535), "input 0 ")


@pytest.mark.row("F20")
def test_text_that_unpacks_to_more_than_memory_should_hold() -> None:
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80 << 20), 9))
    refused(png(8, 8, zlib.compress(bytes(8 * 25)), text), "input 0 ")


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_says_which_way_is_up(turn: int) -> None:
    from PIL import Image, ImageOps

    stored = Image.open(io.BytesIO(picture(9, 5)))
    exif = Image.Exif()
    exif[0x0112] = turn
    content = saved(stored, exif=exif)
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert decode(content).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"garbage" * 99])
def test_broken_exif_turns_nothing(exif: bytes) -> None:
    assert decode(picture(9, 5, kind="JPEG", exif=exif)).size == (9, 5)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    from PIL import Image

    grey = Image.linear_gradient("L").resize((16, 16))
    if mode == "I;16":
        image = Image.frombytes("I;16", (16, 16), b"".join(bytes([0, v]) for v in grey.tobytes()))
    else:
        image = grey.convert("RGB").convert(mode)
    got = decode(saved(image))
    assert got.mode == "RGB"
    assert got.getextrema()[0][1] > 200
    if mode not in ("1", "P"):
        assert abs(got.getpixel((8, 8))[0] - grey.getpixel((8, 8))) <= 1


def test_cmyk_and_transparency() -> None:
    from PIL import Image

    assert decode(saved(Image.new("CMYK", (9, 9), (0, 255, 0, 0)), "JPEG")).mode == "RGB"
    see_through = Image.new("P", (9, 9), 0)
    see_through.putpalette([250, 10, 10])
    content = saved(see_through, transparency=b"\0\x80")
    assert decode(content).getpixel((1, 1)) == (250, 10, 10)


def test_of_an_animation_the_first_frame() -> None:
    from PIL import Image

    frames = [Image.new("RGB", (9, 9), shade) for shade in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = decode(content).getpixel((4, 4))
        assert (red > 200, blue < 50) == (True, True)
