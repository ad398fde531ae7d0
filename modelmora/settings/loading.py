"""Reads the settings of a process: the file, above it the variables, above them the flags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelmora.errors import ConfigurationError
from modelmora.settings.faults import faults_of, misplaced_secrets
from modelmora.settings.fields import Settings
from modelmora.settings.sources import (
    CONFIG_VARIABLE,
    Source,
    from_file,
    from_flags,
    from_variables,
    merged,
)

DEFAULT_CONFIG = "modelmora.yaml"


def config_path(config: Path | None) -> Path | None:
    """The YAML file in use: the flag, else MODELMORA_CONFIG, else ./modelmora.yaml if it exists."""
    variable = os.environ.get(CONFIG_VARIABLE)
    named = config or (Path(variable) if variable else None)
    if named is None:
        default = Path(DEFAULT_CONFIG)
        return default if default.is_file() else None
    try:
        folder, file = named.is_dir(), named.is_file()
    except OSError as error:
        raise ConfigurationError(f"{named} cannot be read: {error.strerror}") from None
    if folder:
        raise ConfigurationError(f"{named} is a folder; name the settings file in it")
    if not file:
        raise ConfigurationError(
            f"{named} is no file; `modelmora config init {named}` writes one, or leave --config out"
        )
    return named


def sources_of(config: Path | None = None, **flags: Any) -> tuple[Source, ...]:
    """What sets something, from the lowest to the highest. Raises ConfigurationError."""
    return (
        from_file(config_path(config)),
        from_variables(os.environ),
        from_flags(flags),
    )


def load_settings(config: Path | None = None, **flags: Any) -> Settings:
    """Read the settings of this process; flags that are None were not given.

    Raises ConfigurationError, one line that names the place, what is there and what is allowed.
    """
    return settings_in(sources_of(config, **flags))


def settings_in(sources: tuple[Source, ...]) -> Settings:
    """The settings of these sources. Raises ConfigurationError."""
    settings, faults = checked(sources)
    if settings is None:
        more = f" (and {len(faults) - 1} more: `modelmora config check`)" if faults[1:] else ""
        raise ConfigurationError(faults[0] + more)
    return settings


def checked(sources: tuple[Source, ...]) -> tuple[Settings | None, list[str]]:
    """The settings of these sources, or everything that is wrong with them."""
    misplaced = list(misplaced_secrets(sources))
    try:
        settings = Settings.model_validate(merged(*sources))
    except ValidationError as error:
        return None, [*misplaced, *faults_of(error, sources)]
    return None if misplaced else settings, misplaced
