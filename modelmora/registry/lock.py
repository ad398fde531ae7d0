"""The lock file: of every model the exact source, revision and files that are to be served."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from modelmora.engines.adapters import adapter_files
from modelmora.engines.files import broken
from modelmora.engines.folders import entrance, model_files
from modelmora.errors import ConfigurationError, LockMismatch, ModelMoraError
from modelmora.registry.definitions import ModelDefinition, configured, served_or_faults
from modelmora.registry.fetching import hashed, plainly
from modelmora.registry.files import write_atomically
from modelmora.registry.sources import BUILT_IN, Sources
from modelmora.registry.sums import Sums, sums_of
from modelmora.settings import AdapterConfig, ModelConfig, ModelDetails, ModelFile, Settings

VERSION = 1


@dataclass(frozen=True, slots=True)
class Lock:
    """Definitions with revision and files, by (name, version)."""

    models: Mapping[tuple[str, str], ModelDefinition]

    def text(self) -> str:
        """The file: sorted, without a time, so that equal models make equal files."""
        entries = [_entry(self.models[key]) for key in sorted(self.models)]
        whole = {
            "lock-version": VERSION,
            "generated-by": f"modelmora {metadata.version('modelmora')}",
            "content-hash": self.content_hash,
            "model": entries,
        }
        return tomli_w.dumps(whole)

    @property
    def content_hash(self) -> str:
        """Of all that definitions say, their files apart."""
        told = [_entry(self.models[key]) | {"files": None} for key in sorted(self.models)]
        text = json.dumps(told, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def make_lock(settings: Settings) -> Lock:
    """What is served now. Raises ModelMoraError where a model cannot be served."""
    found = served_or_faults(settings)
    if found.faults:
        raise ConfigurationError(found.faults[0])
    sums = sums_of(settings)
    models = [_exact(settings, each, sums) for each in found.definitions if _is_locked(each)]
    sums.save()
    return Lock({each.key: each for each in models})


def write_lock(settings: Settings) -> Lock:
    """Write the lock file. Raises as `make_lock`, and ConfigurationError where it cannot be."""
    lock = make_lock(settings)
    try:
        write_atomically(settings.lock_file, lock.text())
    except OSError as error:
        raise ConfigurationError(
            f"{settings.lock_file} cannot be written: {error.strerror}"
        ) from None
    return lock


def read_lock(settings: Settings) -> Lock:
    """The lock file. Raises LockMismatch where there is none, ConfigurationError if it is none."""
    path = settings.lock_file
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        if content.get("lock-version") != VERSION:
            raise ConfigurationError(f"{path} is of another version; run `modelmora lock`")
        configs = [ModelConfig.model_validate(each) for each in content.get("model", [])]
    except FileNotFoundError:
        raise LockMismatch(f"there is no {path}; run `modelmora lock`") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, ValidationError, AttributeError, TypeError):
        raise ConfigurationError(f"{path} is no lock file; run `modelmora lock`") from None
    models = {(each.name, each.version): configured(each) for each in configs}
    lock = Lock(models)
    if content.get("content-hash") != lock.content_hash:
        raise ConfigurationError(f"{path} was edited by hand; run `modelmora lock`")
    return lock


def differences(settings: Settings) -> list[str]:
    """What is served otherwise than the lock file says, a line each; none = it is just that."""
    lock = read_lock(settings)
    sums = sums_of(settings)
    told: list[str] = []
    found = served_or_faults(settings)
    served = {each.key: each for each in found.definitions if _is_locked(each)}
    told += found.faults
    gone = sorted(lock.models.keys() - served.keys())
    told += [f"{'@'.join(key)}: it is in the lock file and not served" for key in gone]
    for key in sorted(served):
        fault = drift(settings, lock, served[key], sums)
        told += [f"{'@'.join(key)}: {fault}"] if fault else []
    sums.save()
    return told


def drift(
    settings: Settings,
    lock: Lock,
    definition: ModelDefinition,
    sums: Sums,
    *,
    but: frozenset[str] = frozenset(),
) -> str | None:
    """How a model differs from the lock file, but for these fields; None where it does not.

    Files are hashed, those apart that have not changed since they were.
    """
    own = lock.models.get(definition.key)
    if own is None:
        return "it is not in the lock file"
    if definition.fault:
        return definition.fault
    if (changed := _changed(definition, own, but)) is not None:
        return f"its {changed} is not that of the lock file"
    sources, adapter = Sources(settings), own.details.adapter
    try:
        folder = sources.folder(own.source, own.details.revision)
        fault = file_drift(folder, own.details.files, sums)
        if fault is None and adapter:
            beside = sources.folder(adapter.source, adapter.revision)
            fault = file_drift(beside, adapter.files, sums, adapter=True)
    except (ModelMoraError, OSError) as error:
        return str(error)
    return fault


def file_drift(
    folder: Path, files: tuple[ModelFile, ...], sums: Sums, *, adapter: bool = False
) -> str | None:
    """The first file in a folder that is not the one that was locked; None where all are."""
    path = entrance(folder, [file.path for file in files])
    listed = adapter_files if adapter else model_files
    there = listed(path) if path == folder else [file.path for file in files]
    for file in files:
        if file.path not in there:
            return f"{file.path} is missing"
    if more := {*there} - {file.path for file in files}:
        return f"{min(more)} is not in the lock file"
    for own, file in zip(hashed(folder, [each.path for each in files], sums), files, strict=True):
        if own != file:
            return f"{file.path} is not the file that was locked"
    return None


def _is_locked(definition: ModelDefinition) -> bool:
    return not definition.source.startswith(BUILT_IN)


def _exact(settings: Settings, definition: ModelDefinition, sums: Sums) -> ModelDefinition:
    """A definition with the revision and the files that lie here now."""
    label = "@".join(definition.key)
    if definition.fault:
        raise ConfigurationError(definition.fault)
    sources = Sources(settings)
    details = definition.details
    with plainly(label):
        exact = _as_it_lies(sources, definition.source, details, sums, model_files)
        if details.adapter:
            own = _as_it_lies(sources, details.adapter.source, details.adapter, sums, adapter_files)
            exact["adapter"] = details.adapter.model_copy(update=own)
    return replace(definition, details=details.model_copy(update=exact))


def _as_it_lies(
    sources: Sources,
    origin: str,
    noted: ModelDetails | AdapterConfig,
    sums: Sums,
    listed: Callable[[Path], tuple[str, ...]],
) -> dict[str, Any]:
    """Revision and files of what lies here. Raises LoadError where it is not what was noted."""
    source = sources.of(sources.parse(origin))
    folder = source.folder(noted.revision)
    names = [file.path for file in noted.files] or listed(folder)
    files = hashed(folder, names, sums)
    if noted.files and noted.files != files:
        raise broken("its files are not those that were installed; install it again")
    return {"revision": source.exact(noted.revision), "files": files}


def _changed(definition: ModelDefinition, own: ModelDefinition, but: frozenset[str]) -> str | None:
    """The first field in which a definition is another one than that of the lock file."""
    now, then = _entry(definition), _entry(own)
    for name in sorted({*now, *then} - {"files", "revision", "adapter", "active", *but}):
        if now.get(name) != then.get(name):
            return name
    told = definition.details.revision
    if told and told != own.details.revision:
        return "revision"
    new, old = definition.details.adapter, own.details.adapter
    if new is None or old is None:
        return None if new is old else "adapter"
    moved = new.revision and new.revision != old.revision
    return "adapter" if moved or new.source != old.source else None


def _entry(definition: ModelDefinition) -> dict[str, Any]:
    """A definition as it stands in the lock file: nothing of who confirmed what, and when."""
    told = definition.as_dict()
    licence = told.pop("licence", None)
    files = told.pop("files", [])
    entry = {n: _bare(v) for n, v in told.items() if v is not None and (n, v) != ("active", False)}
    if licence:
        entry["licence"] = {n: v for n, v in licence.items() if v and not n.startswith("confirmed")}
    return entry | {"files": sorted(files, key=lambda file: str(file["path"]))}


def _bare(value: Any) -> Any:
    """Without what TOML has no word for."""
    if isinstance(value, dict):
        return {name: _bare(each) for name, each in value.items() if each is not None}
    return value
