"""What a definition's files are like now: whole or not, and whether they have changed since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from modelmora.engines.catalog import EngineEntry, entry_for, is_class
from modelmora.engines.files import ModelFiles
from modelmora.errors import ModelMoraError
from modelmora.registry.definitions import ModelDefinition
from modelmora.registry.sources import BUILT_IN, check_files, resolve, weight_bytes

State = tuple[tuple[str, int, int, int], ...]
"""Per file its path, inode, modification time in ns, and size."""
_MOST_FILES = 1000
_SUFFIXES = {".json", ".safetensors", ".txt", ".model", ".spm", ".bpe", ".codes", ".tiktoken"}
"""Others, such as logs and read-mes, may change without a model being loaded anew."""
_NO_FILES = ModelFiles(0)


@dataclass(frozen=True, slots=True)
class Looked:
    """A definition and its files; `fault` says why it cannot be served, None where it can."""

    definition: ModelDefinition
    entry: EngineEntry
    path: str = ""
    files: ModelFiles = _NO_FILES
    state: State = ()
    fault: str | None = None


class Looker:
    """Looks at definitions again and again; what has not changed is not read again."""

    def __init__(self, *, testing: bool) -> None:
        self._testing = testing
        self._known: dict[ModelDefinition, Looked] = {}

    def look(self, definitions: tuple[ModelDefinition, ...]) -> tuple[Looked, ...]:
        """Each definition as its files are now. Only stats files where nothing has changed."""
        self._known = {each: self._one(each) for each in definitions}
        return tuple(self._known.values())

    def _one(self, definition: ModelDefinition) -> Looked:
        entry = entry_for(definition.task, testing=self._testing, engine=definition.engine)
        if entry is None:
            named = f"no engine {definition.engine} is installed for" if definition.engine else None
            missing = f"{named or 'no engine serves'} the task {definition.task}"
            fault = definition.fault or missing
            return Looked(definition, EngineEntry(definition.task, ""), fault=fault)
        known = self._known.get(definition)
        files = known.files if known else _NO_FILES  # what they last told, should they be broken
        try:
            folder = resolve(definition.source)
            state = () if definition.source.startswith(BUILT_IN) else file_state(folder)
        except (ModelMoraError, OSError) as error:
            return Looked(definition, entry, files=files, fault=str(error))
        if known and (known.path, known.state) == (str(folder), state):
            return known
        try:
            files = read(definition, entry, folder)
        except (ModelMoraError, OSError) as error:
            return Looked(definition, entry, str(folder), files, state, str(error))
        return Looked(definition, entry, str(folder), files, state)


def read(definition: ModelDefinition, entry: EngineEntry, folder: Path) -> ModelFiles:
    """What the files tell. Raises ModelMoraError or OSError where they are not whole."""
    if definition.source.startswith(BUILT_IN):
        return _NO_FILES
    if entry.read and not (definition.engine and is_class(definition.engine)):
        return entry.read(folder)
    if entry.read:
        check_files(folder)
    return ModelFiles(weight_bytes(folder))


def file_state(folder: Path) -> State:
    """The files of a folder and of its folders that a model is read from.

    One that cannot be looked at counts as size -1.
    """
    found = []
    for path in _files(folder):
        try:
            stat = path.stat()
            found.append((str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except OSError as error:
            found.append((str(path), 0, error.errno or 0, -1))
    return tuple(sorted(found))


def _files(folder: Path) -> Iterator[Path]:
    """At most `_MOST_FILES`, should somebody have given us a folder of something else."""
    entries = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
    return (path for path in islice(entries, _MOST_FILES) if path.suffix in _SUFFIXES)
