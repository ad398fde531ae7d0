"""What a definition's files are like now: whole or not, and whether they have changed since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from modelmora.engines.allowed import choose, is_harmless, is_weights
from modelmora.engines.catalog import entry_for
from modelmora.engines.entries import EngineEntry, for_model, is_class
from modelmora.engines.files import ModelFiles, broken
from modelmora.engines.folders import check_whole, entrance, model_files, place_of
from modelmora.errors import ModelMoraError
from modelmora.registry.definitions import ModelDefinition
from modelmora.registry.locked import Locked
from modelmora.registry.sources import BUILT_IN, Sources
from modelmora.settings import ModelFile, Settings

State = tuple[tuple[str, int, int, int], ...]
"""Per file its path, inode, modification time in ns, and size."""
_MOST_FILES = 1000
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
    drift: str | None = None
    """Why its files are not to be loaded any more; what was loaded of them before goes on."""


class Looker:
    """Looks at definitions again and again; what has not changed is not read again."""

    def __init__(self, settings: Settings) -> None:
        self._testing = settings.testing
        self._require_licence = settings.registry.require_licence
        self._sources = Sources(settings)
        self._lock = Locked(settings) if settings.locked else None
        self._known: dict[ModelDefinition, Looked] = {}

    def look(self, definitions: tuple[ModelDefinition, ...]) -> tuple[Looked, ...]:
        """Each definition as its files are now. Only stats files where nothing has changed."""
        if self._lock:
            self._lock.refresh()
        self._known = {each: self._checked(each) for each in definitions}
        return tuple(self._known.values())

    def _checked(self, definition: ModelDefinition) -> Looked:
        """As `_one`; one that has drifted from the lock file is as it was before, if it was."""
        fault = self._lock.fault(definition) if self._lock else None
        if fault is None:
            return self._one(definition)
        known = self._known.get(definition)
        if known and not known.fault:
            return replace(known, drift=fault)
        entry = entry_for(definition.task, testing=self._testing, engine=definition.engine)
        return Looked(definition, entry or EngineEntry(definition.task, ""), fault=fault)

    def _one(self, definition: ModelDefinition) -> Looked:
        entry = entry_for(definition.task, testing=self._testing, engine=definition.engine)
        if entry is None:
            named = f"no engine {definition.engine} is installed for" if definition.engine else None
            missing = f"{named or 'no engine serves'} the task {definition.task}"
            fault = definition.fault or missing
            return Looked(definition, EngineEntry(definition.task, ""), fault=fault)
        if definition.fault:
            return Looked(definition, entry, fault=definition.fault)
        if definition.source.startswith(BUILT_IN):
            try:
                return Looked(definition, _of(definition, entry))
            except ModelMoraError as error:
                return Looked(definition, entry, fault=str(error))
        if self._require_licence and (unconfirmed := licence_fault(definition)):
            return Looked(definition, entry, fault=unconfirmed)
        known = self._known.get(definition)
        files = known.files if known else _NO_FILES  # what they last told, should they be broken
        try:
            details = self._lock.details(definition) if self._lock else definition.details
            folder = self._sources.folder(definition.source, details.revision)
            folder = entrance(folder, [file.path for file in details.files])
            state = file_state(folder, settled=self._lock is not None)
        except (ModelMoraError, OSError) as error:
            return Looked(definition, entry, files=files, fault=str(error))
        if known and (known.path, known.state) == (str(folder), state):
            return replace(known, drift=None) if known.drift else known
        try:
            entry = _of(definition, entry)
            files = read(definition, entry, folder)
        except (ModelMoraError, OSError) as error:
            return Looked(definition, entry, str(folder), files, state, str(error))
        return Looked(definition, entry, str(folder), files, state)


def _of(definition: ModelDefinition, entry: EngineEntry) -> EngineEntry:
    details = definition.details
    return for_model(entry, details.parameters, details.options, definition.engine)


def licence_fault(definition: ModelDefinition) -> str | None:
    """Why the model may not be used where licences are to be confirmed; None where it may."""
    licence = definition.details.licence
    if licence and licence.confirmed_by:
        return None
    told = f"nobody has confirmed its licence {licence.name}" if licence else "it tells no licence"
    return f"{told} (registry.require_licence); set licence.name and licence.confirmed_by"


def read(definition: ModelDefinition, entry: EngineEntry, path: Path) -> ModelFiles:
    """What the files tell. Raises ModelMoraError or OSError where they are refused or not whole."""
    names = model_files(path)
    check_noted(path, definition.details.files)
    if entry.read and not (definition.engine and is_class(definition.engine)):
        return entry.read(path)
    check_whole(path, names)
    return ModelFiles(weight_bytes(path, names))


def check_noted(path: Path, files: Sequence[ModelFile]) -> None:
    """Raises LoadError where a file that was noted at install is missing or not as long."""
    for file in files:
        try:
            there = place_of(path, file.path).stat().st_size
        except OSError as error:
            raise broken(f"{file.path} is not there ({error.strerror}); install it again") from None
        if there != file.size:
            raise broken(f"{file.path} has {there} of {file.size} bytes; install it again")


def weight_bytes(path: Path, names: Iterable[str]) -> int:
    """Bytes of the weights among the files of a model, in the form that goes before others."""
    weights = [name for name in choose((name, 0) for name in names) if is_weights(name)]
    return sum(place_of(path, name).stat().st_size for name in weights)


def file_state(path: Path, *, settled: bool = False) -> State:
    """The files of a model that it is read from; `path` is its folder or its one file.

    One that cannot be looked at counts as size -1. Where it is `settled` what they hold, the time
    is that of the last change of the inode, which no program can set.
    """
    found = []
    for each in (path,) if path.is_file() else _files(path):
        try:
            stat = each.stat()
            time = stat.st_ctime_ns if settled else stat.st_mtime_ns
            found.append((str(each), stat.st_ino, time, stat.st_size))
        except OSError as error:
            found.append((str(each), 0, error.errno or 0, -1))
    return tuple(sorted(found))


def _files(folder: Path) -> Iterator[Path]:
    """At most `_MOST_FILES`, should somebody have given us a folder of something else.

    What is harmless, such as logs and read-mes, may change without a model being loaded anew.
    """
    entries = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
    return (p for p in islice(entries, _MOST_FILES) if not is_harmless(p.name) and p.suffix)
