"""A model in a folder, or in a file of its own, served where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelmora.engines.folders import model_files, place_of
from modelmora.errors import NotFound
from modelmora.registry.sources.base import Check, File, Found, Progress
from modelmora.registry.sources.cards import card_beside
from modelmora.settings import Licence

SINGLE = (".gguf", ".onnx")
"""Files that are a model by themselves."""


@dataclass(frozen=True, slots=True)
class Local:
    """A folder, or a `.gguf` or `.onnx` file."""

    path: str

    def resolve(self) -> Found:
        """Its files as they are now."""
        folder = self.folder(None)
        beside = folder.parent if folder.is_file() else folder
        return Found(None, files_in(folder), licence_in(folder), card=card_beside(beside))

    def fetch(
        self, revision: str | None, files: Sequence[File], progress: Progress, check: Check
    ) -> None:
        """Nothing: it lies where it is."""

    def folder(self, revision: str | None) -> Path:
        """The absolute path."""
        try:
            path = Path(self.path).expanduser()
            is_there = path.is_dir() or (path.is_file() and path.suffix in SINGLE)
            if self.path and is_there:
                return path.absolute()
        except (OSError, RuntimeError, ValueError):  # too long, no such user, a null byte
            pass
        raise NotFound(
            f"there is no folder `{self.path}`; pass the path of a model's folder or of a .gguf or "
            ".onnx file"
        )

    def exact(self, revision: str | None) -> str | None:
        """The revision that lies here."""
        return None

    def discard(self, revision: str | None) -> int:
        """Nothing: it is not ours."""
        return 0


def files_in(path: Path) -> tuple[File, ...]:
    """The files that make the model. Raises LoadError where they are no model or refused."""
    return tuple(File(name, place_of(path, name).stat().st_size) for name in model_files(path))


_LICENCES = (
    ("Apache License", "Apache-2.0"),
    ("MIT License", "MIT"),
    ("Permission is hereby granted, free of charge", "MIT"),
    ("GNU AFFERO GENERAL PUBLIC", "AGPL"),
    ("GNU GENERAL PUBLIC", "GPL"),
    ("Mozilla Public License", "MPL-2.0"),
    ("Redistribution and use in source and binary forms", "BSD"),
)
"""How licences of many models begin, and what they are called."""


def licence_in(path: Path) -> Licence | None:
    """What a LICENSE file or the head of a README says; None where nothing does."""
    folder = path.parent if path.is_file() else path
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE"):
        text = _start_of(folder / name)
        if text:
            known = (spdx for words, spdx in _LICENCES if words.lower() in text.lower())
            return Licence(name=next(known, text.strip().partition("\n")[0][:60]), read_from=name)
    head = _start_of(folder / "README.md").split("\n---", 1)[0]
    for line in head.splitlines() if head.startswith("---") else ():
        key, _, value = line.partition(":")
        if key == "license" and value.strip():
            return Licence(name=value.strip()[:60], read_from="README.md")
    return None


def _start_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4000).decode("utf-8", "replace")
    except OSError:
        return ""
