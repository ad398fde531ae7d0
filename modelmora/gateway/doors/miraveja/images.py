"""The images that a request names: read only from where reading was allowed, never fetched."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from modelmora.errors import Code
from modelmora.gateway.outcomes import Refusal
from modelmora.gateway.shelf import Shelf
from modelmora.messages import Content

DATA = "data:"
BYTES = "application/octet-stream"
LARGE = 512 << 10
"""Bytes of an image that stands in its request itself; several may."""
_BEGINNINGS = (
    ("image/png", b"\x89PNG\r\n\x1a\n", b""),
    ("image/jpeg", b"\xff\xd8\xff", b""),
    ("image/gif", b"GIF8", b""),
    ("image/webp", b"RIFF", b"WEBP"),
)


async def image_of(uri: str, shelf: Shelf) -> Content:
    """The image that a URI holds, or the caller's object that it names.

    Raises Refusal, which never shows the URI.
    """
    if uri[: len(DATA)].lower() == DATA:
        return await kept(_held(uri), shelf)
    if found := await shelf.named(uri):
        return found
    raise _invalid(
        "image_uri is no `data:` URI, no object of yours, and in none of objects.input_buckets; "
        "nothing else is read here"
    )


async def kept(image: bytes, shelf: Shelf) -> Content:
    """The image for a request: itself, or an object where it is large and there is a store."""
    if len(image) <= LARGE or shelf.objects is None:
        return image
    return await shelf.keep(image, media_type_of(image) or BYTES)


def _held(uri: str) -> bytes:
    head, comma, data = uri[len(DATA) :].partition(",")
    _, *more = head.lower().split(";")
    if not comma:
        raise _invalid("image_uri has no comma before its data")
    try:
        found = (
            base64.b64decode(unquote_to_bytes(data), validate=True)
            if "base64" in more
            else unquote_to_bytes(data)
        )
    except (binascii.Error, ValueError):
        raise _invalid("image_uri is not base64 as it says") from None
    if media_type_of(found) is None:
        raise _invalid("image_uri is no PNG, JPEG, GIF or WebP")
    return found


def media_type_of(image: bytes) -> str | None:
    """What kind of image it is, by how it begins; None: none that is known here."""
    for media_type, begins, within in _BEGINNINGS:
        if image.startswith(begins) and image[8 : 8 + len(within)] == within:
            return media_type
    return None


def uri_of(image: bytes) -> str:
    """The image as a `data:` URI."""
    media_type = media_type_of(image) or BYTES
    return f"{DATA}{media_type};base64,{base64.b64encode(image).decode()}"


def _invalid(message: str) -> Refusal:
    return Refusal(Code.INVALID_INPUT, message)
