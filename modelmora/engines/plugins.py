"""Engines of other distributions, found through the entry point group `modelmora.engines`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from modelmora.engines.base import LoadError
from modelmora.engines.catalog import CATALOG, TESTING
from modelmora.engines.entries import EngineEntry
from modelmora.engines.files import ModelFiles, broken
from modelmora.text import printable

GROUP = "modelmora.engines"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ENGINE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
HEAVY = frozenset({
    "diffusers", "onnxruntime", "sentence_transformers", "tensorflow", "torch", "transformers",
    "vllm", "xllamacpp",
})  # fmt: skip
"""What no process but a model's own may import."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The engines by the names of their entry points, and why others are left out."""

    entries: Mapping[str, EngineEntry] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@cache
def registered() -> Registered:
    """What is installed beside ModelMora; looked up once, as imports are.

    An entry point names an `EngineEntry`. Under the name of its task it serves that task; under
    another name, the models whose definition has this name as `engine`. So nothing is hidden: a
    name of ModelMora's own, and one that two distributions give, is left out and told.
    """
    entries: dict[str, EngineEntry] = {}
    faults: list[str] = []
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name)
    given = Counter(point.name for point in points)
    for point in points:
        try:
            _check_name(point.name, given[point.name])
            entries[point.name] = _read(point)
        except ValueError as error:
            owner = point.dist.name if point.dist else "a package"
            faults.append(printable(f"engine {point.name} of {owner}: {error}"))
    return Registered(entries, tuple(faults))


def _check_name(name: str, times: int) -> None:
    """Raises ValueError, which says why there can be no engine of this name."""
    if not _NAME.fullmatch(name):
        raise ValueError("its name is not usable; lower-case letters, digits and . _ - are")
    if name in CATALOG or name in TESTING:
        raise ValueError("ModelMora has an engine of this name; register it under another one")
    if times > 1:
        raise ValueError("two packages give an engine of this name; uninstall one of them")


def _read(point: metadata.EntryPoint) -> EngineEntry:
    """The entry, whose reader of files raises nothing but LoadError. Raises ValueError."""
    before = HEAVY.intersection(sys.modules)
    try:
        entry = point.load()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{point.value} cannot be read ({type(error).__name__})") from error
    if heavy := sorted(HEAVY.intersection(sys.modules) - before):
        raise ValueError(
            f"{point.value} imports {heavy[0]}; keep the EngineEntry in a module without it"
        )
    if not isinstance(entry, EngineEntry):
        raise ValueError(f"{point.value} is no EngineEntry")  # noqa: TRY004  # one kind of fault
    if not _NAME.fullmatch(str(entry.task)) or not _ENGINE.fullmatch(str(entry.engine)):
        raise ValueError(f"{point.value} has no usable task, or an engine that is no module:Class")
    return replace(entry, read=_guarded(entry.read)) if entry.read else entry


def _guarded(read: Callable[[Path], ModelFiles]) -> Callable[[Path], ModelFiles]:
    """A stranger's reader, whatever it raises."""

    def guarded(folder: Path) -> ModelFiles:
        try:
            files = read(folder)
        except (LoadError, OSError):
            raise
        except Exception as error:
            name = type(error).__name__
            raise broken(f"its files cannot be read by the engine ({name})") from error
        if not isinstance(files, ModelFiles):
            raise broken("its engine reads its files as something else than ModelFiles")
        return files

    return guarded


def known_tasks() -> Iterator[str]:
    """The tasks that can be served, of ModelMora and of others."""
    yield from CATALOG
    yield from (name for name, entry in registered().entries.items() if name == entry.task)
