"""Which task a model's own files tell."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from modelmora.engines.architectures import TASKS_OF_TAGS, task_of_files

_OF_FORM = {".gguf": "txt2txt", ".onnx": "tensor"}


def task_of(path: Path, names: Collection[str], tag: str | None = None) -> str | None:
    """The task of a model with these files, or None where they do not tell. Raises LoadError.

    (1) What its configurations say, (2) the hub's tag, (3) the form of its weights.
    """
    if path.is_dir() and (found := task_of_files(path)):
        return found
    if tag in TASKS_OF_TAGS:
        return TASKS_OF_TAGS[tag]
    forms = (_OF_FORM.get(Path(name).suffix) for name in sorted(names))
    return next((form for form in forms if form), None)
