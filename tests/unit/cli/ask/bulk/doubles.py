"""A model that makes a vector or a text of a text, and files of rows."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

WIDTH = 4


def vector_of(text: str) -> bytes:
    """The vector of a text, little-endian float32."""
    digest = hashlib.sha256(text.encode()).digest()
    return struct.pack(f"<{WIDTH}f", *(each / 255 for each in digest[:WIDTH]))


def numbers_of(text: str) -> list[float]:
    """The same as numbers."""
    return list(struct.unpack(f"<{WIDTH}f", vector_of(text)))


def jsonl(path: Path, *texts: str) -> Path:
    """A file with a line of JSON for each text."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path
