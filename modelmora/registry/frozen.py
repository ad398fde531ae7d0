"""Installing exactly what the lock file says."""

from __future__ import annotations

from dataclasses import replace

from modelmora.errors import ConfigurationError, LockMismatch, NotFound
from modelmora.registry.definitions import ModelDefinition
from modelmora.registry.fetching import Fetching, fetch
from modelmora.registry.install import write_definition
from modelmora.registry.lock import file_drift, read_lock
from modelmora.registry.sources import Progress, Sources
from modelmora.registry.sums import Sums, sums_of
from modelmora.settings import Settings


def install_frozen(settings: Settings, progress: Progress) -> list[ModelDefinition]:
    """Fetch every model of the lock file in its revision, and write those definitions.

    Models that the settings name are fetched and not installed. Raises LockMismatch where a source
    has not, or no longer, what was locked; NotFound, Unreachable, ConfigurationError as install.
    """
    lock = read_lock(settings)
    sources, sums = Sources(settings), sums_of(settings)
    configured = {(each.name, each.version) for each in settings.models}
    installed = []
    for key in sorted(lock.models):
        definition = lock.models[key]
        details = definition.details
        how = Fetching(progress=progress, expected=details.files)
        _fetch(sources, definition.source, details.revision, how, sums)
        if adapter := details.adapter:
            how = Fetching(progress=progress, expected=adapter.files, adapter=True)
            _fetch(sources, adapter.source, adapter.revision, how, sums)
        if key not in configured:
            write_definition(settings, definition)
            installed.append(definition)
    sums.save()
    return installed


def _fetch(sources: Sources, source: str, revision: str | None, how: Fetching, sums: Sums) -> None:
    """Just what was locked. Raises LockMismatch where it is not there, or no more."""
    reference = replace(sources.parse(source), revision=revision)
    try:
        fetched = fetch(reference, sources.of(reference), sums, how)
    except (NotFound, ConfigurationError) as error:
        raise LockMismatch(str(error)) from None
    if fetched.revision != revision:
        raise LockMismatch(f"{reference} is there in another revision than was locked")
    files = tuple(how.expected or ())
    if fault := file_drift(fetched.folder, files, sums, adapter=how.adapter):
        raise LockMismatch(f"{reference}: {fault}")
