"""Which task a model's own files tell."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from modelmora.engines.architectures import TASKS_OF_TAGS, task_of_files
from modelmora.engines.folders import entrance
from modelmora.engines.text.files import is_gguf


def task_of(path: Path, names: Collection[str], tag: str | None = None) -> str | None:
    """The task of a model with these files, or None where they do not tell. Raises LoadError.

    (1) What its configurations or its GGUF say, (2) the hub's tag, (3) the form of its weights.
    """
    place = entrance(path, names) if path.is_dir() else path
    if (place.is_dir() or is_gguf(place)) and (found := task_of_files(place)):
        return found
    if tag in TASKS_OF_TAGS:
        return TASKS_OF_TAGS[tag]
    return "tensor" if any(Path(name).suffix == ".onnx" for name in names) else None
