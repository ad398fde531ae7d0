"""`modelmora config`: the settings in use, a file to start from, what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, SecretStr

from modelmora.cli.shared.options import ConfigOption, DataDirOption, JsonOption, ServersOption
from modelmora.cli.shared.output import print_json, print_table, say, tell
from modelmora.errors import ConfigurationError
from modelmora.settings import (
    DEFAULT_CONFIG,
    Settings,
    Source,
    checked,
    config_path,
    place_of,
    settings_in,
    sources_of,
)
from modelmora.settings.readable import unusable
from modelmora.settings.template import json_schema, template
from modelmora.text import counted

app = typer.Typer(help="Settings: show, init, check, schema.", no_args_is_help=True)

FileArgument = Annotated[Path | None, typer.Argument(metavar="FILE", help="The settings file.")]


@app.command("show")
def show(
    bootstrap_servers: ServersOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show every setting in use and where it comes from; secrets stay hidden."""
    sources = sources_of(config, bootstrap_servers=bootstrap_servers, data_dir=data_dir)
    rows = list(effective(settings_in(sources), sources))
    if json:
        print_json({name: {"value": value, "from": origin} for name, value, origin in rows})
        return
    print_table(
        ("SETTING", "VALUE", "FROM"),
        [(name, _text(value), origin) for name, value, origin in rows],
        drop=("FROM",),
    )


@app.command("init")
def init(file: FileArgument = None) -> None:
    """Write a settings file with every setting, commented out, at its default."""
    path = file or Path(DEFAULT_CONFIG)
    try:
        with path.open("x", encoding="utf-8") as new:
            new.write(template())
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is there already; `modelmora config check {path}` reads it"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
    tell(str(path))


@app.command("check")
def check(file: FileArgument = None, json: JsonOption = False) -> int:
    """Check file and environment; everything that is wrong, a line each, and exit code 2."""
    sources = sources_of(file)
    settings, faults = checked(sources)
    if settings is not None:
        faults = list(unusable(settings))
    if json:
        print_json(faults)
    else:
        for fault in faults:
            tell(fault)
        say(f"{counted(len(faults), 'fault')}" if faults else f"{_read(file)} is sound")
    return ConfigurationError.exit_code if faults else 0


def _read(file: Path | None) -> str:
    path = config_path(file)
    return f"the environment with {path}" if path else "the environment, without a settings file,"


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of the settings file, by which editors complete it."""
    print_json(json_schema())


def effective(settings: Settings, sources: Sequence[Source]) -> Iterator[tuple[str, Any, str]]:
    """(dotted name, value, origin) of every setting; the highest place, or default."""
    for name, value in flatten(settings):
        place = place_of(tuple(name.split(".")), sources)
        yield name, value, place or "default"


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
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(f"{m['name']}@{m['version']}" if "name" in m else str(m) for m in value)
    if isinstance(value, dict) and value:
        return ", ".join(_pair(name, each) for name, each in value.items())
    return None if value is None else str(value)


def _pair(name: str, value: Any) -> str:
    """A member of a mapping, as far as it fits a line; `--json` shows all of it."""
    several = value if isinstance(value, list) else [value]
    if any(isinstance(each, dict) for each in several):
        return name
    return f"{name}: {' '.join(map(str, several))}"
