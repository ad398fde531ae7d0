"""The settings of this machine, handed to its processes as environment variables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from modelmora.host.folder import write_atomically
from modelmora.settings import CONFIG_VARIABLE, PREFIX, Settings, variable_of


def write_empty_config(data_dir: Path) -> Path:
    """A settings file without settings, for our processes to read in place of any other."""
    path = data_dir / "settings.yaml"
    text = "# Empty on purpose: `modelmora serve` hands its settings to its processes.\n"
    write_atomically(path, text)
    return path


def child_environment(
    settings: Settings, environment: Mapping[str, str], empty_config: Path
) -> dict[str, str]:
    """The variables from which `load_settings` makes equal settings in a child.

    Every value that is set is named, `MODELMORA_A__B` for nested ones, so that neither the
    parent's variables (below its flags) nor a configuration file edited meanwhile show through;
    `empty_config` takes the file's place. Secrets travel here and nowhere else.
    """
    foreign = {
        name: value for name, value in environment.items() if not name.upper().startswith(PREFIX)
    }
    own = dict(_variables(settings, ()))
    return {**foreign, **own, CONFIG_VARIABLE: str(empty_config)}


def _variables(section: BaseModel, at: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _variables(value, (*at, name))
        elif value is not None:
            yield variable_of((*at, name)), _text(value)


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list | tuple | dict):
        return json.dumps(to_jsonable_python(value))
    return str(value)
