"""What a content is as an object, and back: its bytes, and a media type that says the rest."""

from __future__ import annotations

from email.message import Message
from urllib.parse import quote, unquote

from modelmora.messages import Content, Tensor
from modelmora.objects.store import Bad
from modelmora.wire.tensors import BadTensor, check_tensor

TENSOR = "application/vnd.modelmora.tensor"
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


def stored_form(content: Content) -> tuple[bytes, str] | None:
    """Its bytes and media type; None for what is no content of its own.

    A tensor is its elements as they are, with `dtype`, `shape` (commas between) and `name` (percent
    encoded) as parameters of the type: so a range of bytes is a range of rows.
    """
    match content:
        case str():
            return content.encode(), TEXT
        case bytes():
            return content, media_type_of(content)
        case Tensor(name, dtype, shape, data):
            sizes = ",".join(map(str, shape))
            called = quote(name, safe="")
            return data, f'{TENSOR}; dtype={dtype}; shape="{sizes}"; name="{called}"'
    return None


def media_type_of(content: bytes) -> str:
    """By how it begins."""
    found = (media for begins, media in _BEGINNINGS if content.startswith(begins))
    return next(found, BYTES)


def content_of(data: bytes, media_type: str) -> Content:
    """The content that an object is: a tensor, a text, or its bytes. Raises Bad."""
    told = Message()
    told["content-type"] = media_type
    kind = media_type.partition(";")[0].strip().lower()
    try:
        if kind == TENSOR:
            return _tensor(data, told)
        if kind.startswith("text/") or kind == "application/json":
            return data.decode()
    except UnicodeDecodeError:
        raise Bad("the object is not UTF-8, though its media type is that of a text") from None
    return data


def _tensor(data: bytes, told: Message) -> Tensor:
    said = {name: str(told.get_param(name) or "") for name in ("dtype", "shape", "name")}
    try:
        shape = tuple(int(size) for size in said["shape"].split(",") if size)
        return check_tensor(Tensor(unquote(said["name"]), said["dtype"], shape, data))
    except BadTensor as error:
        raise Bad(f"the object is no tensor as its media type says: {error}") from None
    except ValueError:
        raise Bad("the shape in the object's media type is no list of sizes") from None
