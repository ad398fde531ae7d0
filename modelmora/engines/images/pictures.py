"""Bytes from strangers to an upright RGB picture, or a refusal; images are decoded here alone."""

from __future__ import annotations

import io
import warnings

from PIL import Image

from modelmora.engines.base import is_out_of_memory
from modelmora.errors import Code, RequestError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
"""All that is tried. Of an animation it is the first frame."""
MAX_PIXELS = 20_000_000
"""A picture of 5000 x 4000, which takes about 270 MB while it is decoded and prepared."""
MAX_RATIO = 50
"""Long side to short side; resized by its short side, a narrower picture would fill memory."""

# The decoders' own check, which holds inside of files too, raises at twice this number.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2

_ORIENTATION = 0x0112
# EXIF 2.3, tag Orientation: how the stored picture must be turned to be upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def size_of(content: bytes, where: str) -> tuple[int, int]:
    """Width and height as stored, from the header alone: nothing is decoded.

    Raises RequestError (invalid_input) that begins with `where`: no picture of a known format, too
    many pixels, too narrow.
    """
    with _open(content, where) as image:
        return image.size


def decode(content: bytes, where: str) -> Image.Image:
    """The picture as RGB and upright; transparency is dropped, as transformers does.

    Raises RequestError (invalid_input) as `size_of` does, and where it is cut off or damaged.
    """
    with _open(content, where) as image:
        try:
            with warnings.catch_warnings(action="ignore"):
                image.load()
                turn = _UPRIGHT.get(_orientation(image) or 1)
                plain = _as_rgb(image)
        except Exception as error:  # noqa: BLE001  # decoders raise whatever they stumble over
            raise _refusal(error, f"{where} is cut off or damaged") from None
        return plain if turn is None else plain.transpose(turn)


def as_png(picture: Image.Image) -> bytes:
    """The picture as a file, little compressed."""
    written = io.BytesIO()
    picture.save(written, "PNG", compress_level=1)
    return written.getvalue()


def _open(content: bytes, where: str) -> Image.Image:
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _invalid(f"{where} has over {MAX_PIXELS:,} pixels; make it smaller") from None
    except Exception as error:  # noqa: BLE001  # decoders raise whatever they stumble over
        known = ", ".join(FORMATS)
        raise _refusal(error, f"{where} is no image that is read here ({known})") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _invalid(f"{where} has {width} x {height} pixels, at most {MAX_PIXELS:,} are read")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise _invalid(f"{where} has {width} x {height} pixels, which is too narrow; cut it")
    return image


def _orientation(image: Image.Image) -> int | None:
    """What EXIF says; nothing where it is damaged, as every viewer of pictures does."""
    try:
        told = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001  # the parser raises whatever it stumbles over
        return None
    return told if isinstance(told, int) else None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode.startswith("I"):  # 16 bits; converting would cut off at 255
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


def _refusal(error: Exception, message: str) -> Exception:
    """What is told of a decoder's error; what the machine lacks is not the picture's fault."""
    return error if is_out_of_memory(error) else _invalid(message)


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_INPUT, message)
