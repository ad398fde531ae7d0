"""What a model's files tell without any model library: JSON, and how much is computed of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelmora.engines.base import LoadError
from modelmora.errors import Code


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model as its files describe it."""

    weight_bytes: int
    row_bytes: int | None = None
    """Bytes of the outputs of one input; None where the files do not tell."""


def read_json(path: Path, kind: type[Any] = dict) -> Any:
    """The JSON of a file; empty where there is no such file. Raises LoadError."""
    if not path.is_file():
        return kind()
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise LoadError(Code.MODEL_UNAVAILABLE, f"{path.name} is not valid JSON") from None
    if not isinstance(values, kind):
        raise LoadError(Code.MODEL_UNAVAILABLE, f"{path.name} does not hold a {kind.__name__}")
    return values
