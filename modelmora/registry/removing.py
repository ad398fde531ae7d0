"""Uninstalling a model: its definition goes, and its fetched files where asked."""

from __future__ import annotations

from modelmora.errors import ConfigurationError, NotFound
from modelmora.registry.definitions import (
    ModelDefinition,
    definition_path,
    definitions_installed,
    places,
    served_or_faults,
)
from modelmora.registry.sources import Sources
from modelmora.settings import Settings
from modelmora.text import did_you_mean


def remove(
    settings: Settings, name: str, version: str | None = None, *, files: bool = False
) -> tuple[list[ModelDefinition], int]:
    """Delete the definition of an installed model; returns what went, and the bytes freed.

    `files` too means those that were fetched, unless another definition of this data folder has
    the same source and revision. Raises NotFound, and ConfigurationError where the settings name
    it, or it has several versions and none was named.
    """
    installed = definitions_installed(settings)
    found = [each for each in installed if each.name == name and version in (None, each.version)]
    label = f"{name}@{version}" if version else name
    if not found:
        if any((m.name, version or m.version) == (name, m.version) for m in settings.models):
            raise ConfigurationError(f"{label} is named in the settings; take it out there")
        near = did_you_mean(name, (each.name for each in installed))
        raise NotFound(f"no model {label} is installed{near}")
    if len(found) > 1:
        versions = ", ".join(each.version for each in found)
        raise ConfigurationError(f"{name} is there in versions {versions}; write {name}@VERSION")
    for each in found:
        definition_path(settings, each).unlink(missing_ok=True)
        folder = definition_path(settings, each).parent
        if not any(folder.iterdir()):
            folder.rmdir()
    served = served_or_faults(settings).definitions
    kept, gone = (
        {place for each in some if not each.fault for place in places(each.source, each.details)}
        for some in (served, found)
    )
    return found, sum(_discard(settings, *place) for place in gone - kept) if files else 0


def _discard(settings: Settings, source: str, revision: str | None) -> int:
    sources = Sources(settings)
    try:
        return sources.of(sources.parse(source)).discard(revision)
    except NotFound:
        return 0
