"""`modelmora config show`: the settings in use and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import BaseModel, SecretStr

from modelmora.cli.options import ConfigOption, DataDirOption, JsonOption, ServersOption
from modelmora.cli.output import print_json, print_table
from modelmora.settings import Settings, config_path, load_settings

PREFIX = "MODELMORA_"
NESTED = "__"

app = typer.Typer(help="Settings: show.", no_args_is_help=True)


@app.command("show")
def show(
    bootstrap_servers: ServersOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show every setting in use and where it comes from; secrets stay hidden."""
    flags = {"bootstrap_servers": bootstrap_servers, "data_dir": data_dir}
    given = {name for name, value in flags.items() if value is not None}
    settings = load_settings(config, **flags)
    path = config_path(config)
    rows = list(effective(settings, given, path))
    if json:
        print_json({name: {"value": value, "from": origin} for name, value, origin in rows})
        return
    print_table(
        ("SETTING", "VALUE", "FROM"),
        [(name, _text(value), origin) for name, value, origin in rows],
    )


@app.callback()
def _family() -> None:
    """Keep `show` a verb of its own: typer folds a family of one into its parent."""


def effective(
    settings: Settings, flags: set[str], path: Path | None
) -> Iterator[tuple[str, Any, str]]:
    """(dotted name, value, origin) of every setting: flag, default, a variable or the file."""
    written = _read_yaml(path)
    variables = {name.upper(): name for name in os.environ}
    for name, value in flatten(settings):
        keys = name.split(".")
        if name in flags:
            origin = "flag"
        elif variable := _variable(keys, variables):
            origin = variable
        elif _is_in(written, keys):
            origin = str(path)
        else:
            origin = "default"
        yield name, value, origin


def flatten(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of the settings by dotted name, as JSON values, secrets hidden."""
    for field in type(section).model_fields:
        value = getattr(section, field)
        name = f"{prefix}{field}"
        if isinstance(value, BaseModel):
            yield from flatten(value, f"{name}.")
        else:
            yield name, _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [v.model_dump(mode="json") if isinstance(v, BaseModel) else v for v in value]
    return value


def _variable(keys: list[str], variables: Mapping[str, str]) -> str | None:
    """The variable that sets this, or the whole section it is in (as JSON)."""
    for length in range(len(keys), 0, -1):
        asked = PREFIX + NESTED.join(keys[:length]).upper()
        if asked in variables:
            return variables[asked]
    return None


def _is_in(written: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(written, dict) or key not in written:
            return False
        written = written[key]
    return True


def _read_yaml(path: Path | None) -> Any:
    # It was read and judged already, while the settings were loaded.
    return yaml.safe_load(path.read_text("utf-8")) if path else None


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(f"{m['name']}@{m['version']}" if "name" in m else str(m) for m in value)
    return None if value is None else str(value)
