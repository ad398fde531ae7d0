"""Whether what the settings name can be used: secrets, and files that are only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from modelmora.errors import ConfigurationError
from modelmora.settings.fields import Settings
from modelmora.settings.sources import setting_paths

_READ = ("cafile", "certfile", "keyfile", "_file")
_MADE = frozenset({"lock_file", "access.keys_file", "access.pepper_file"})
"""Files that a command or the first start makes."""


def unusable(settings: Settings) -> Iterator[str]:
    """Each secret or file that cannot be used here, in a line; what is asked for needs no broker.

    Another machine may have them all, so no command but `config check` refuses settings for it.
    """
    told = set()
    for ask in _secrets(settings):
        try:
            ask()
        except ConfigurationError as error:
            told.add(str(error).split(" cannot be read")[0])
            yield str(error)
    for name, path in _files(settings):
        subject = f"{name} {path}"
        if subject in told:
            continue
        try:
            path.read_bytes()
        except OSError as error:
            yield f"{subject} cannot be read: {error.strerror}"


def _secrets(settings: Settings) -> tuple[Callable[[], object], ...]:
    access, kafka = settings.access, settings.kafka
    return (
        access.cluster_secrets,
        access.own_signing_key,
        kafka.credentials,
        settings.schema_registry.secret,
        settings.objects.secret,
    )


def _files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The files that settings name and that must be there, by the setting."""
    for path, _ in setting_paths():
        value: object = settings
        for part in path:
            value = getattr(value, part)
        name = ".".join(path)
        if isinstance(value, Path) and name.endswith(_READ) and name not in _MADE:
            yield name, value
