"""What the models of a hall that is none answer, and how a call is refused."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import grpc
import grpc.aio
import pytest

from modelmora.messages import Content, Tensor

PNG = b"\x89PNG\r\n\x1a\n and so on"
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
SEES = json.dumps({"reads_images": True})
TEXTS = "TextEmbeddingsService"


def floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def labelled(**scores: float) -> tuple[Content, ...]:
    names = b"".join(struct.pack("<I", len(name)) + name.encode() for name in scores)
    shape = (1, len(scores))
    return (
        Tensor("scores", "FP32", shape, floats(*scores.values())),
        Tensor("labels", "BYTES", shape, names),
    )


ANSWERS: dict[str, tuple[Content, ...]] = {
    "vectors": (Tensor("embedding", "FP32", (1, 2), floats(0.5, -1)),),
    "looks": (Tensor("embedding", "FP32", (1, 2), floats(1, 2)),),
    "paints": (PNG,),
    "captions": (" a fish ",),
    "eyes": ("# “A Fish”\nand more, #fish, Fish",),
    "rates": labelled(unheard=0.6, nsfw=0.3, normal=0.1),
}
TASKS = {
    "vectors": "txt2embed",
    "looks": "img2embed",
    "paints": "txt2img",
    "captions": "img2txt",
    "eyes": "txt2txt",
    "rates": "classify",
    "blind": "txt2txt",
}


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def code_of(error: grpc.aio.AioRpcError) -> str:
    return str(dict(error.trailing_metadata())["modelmora-error-code"])
