"""Files in which people write models down: one, or a folder of them, with `${VAR}` in values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from modelmora.errors import ConfigurationError, NotFound
from modelmora.settings import ModelConfig, Section
from modelmora.settings.routes import NamedRoute, Route

S = TypeVar("S", bound=Section)
SUFFIXES = (".yaml", ".yml")
_REFERENCE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})")
_RELATIVE = ("./", "../")


@dataclass(frozen=True, slots=True)
class Declared:
    """The models and routes of some files; each model as its file tells it, and where it stands."""

    models: tuple[ModelConfig, ...]
    places: Mapping[tuple[str, str], str]
    routes: Mapping[str, Route]
    """How a name is to be answered."""


def read_declared(path: Path, environment: Mapping[str, str] = os.environ) -> Declared:
    """The models in a file, or in all `*.yaml` and `*.yml` of a folder and of its folders.

    A file holds one model, or several under `models:`, and under `routes:` how names are answered.
    `${VAR}` stands for the variable, where it is set, `${VAR:-default}` for the default where it is
    not, `$$` for a dollar sign. A source that begins with `./` or `../` is meant from the file's
    folder. Raises NotFound and ConfigurationError, one line that names file and field.
    """
    models: list[ModelConfig] = []
    places: dict[tuple[str, str], str] = {}
    routes: dict[str, Route] = {}
    chosen: dict[str, str] = {}
    """Of each name what says which version answers."""
    for file in _files(path):
        for told in _told_in(file, environment):
            if isinstance(told, NamedRoute):
                routes[told.name] = told.route
                words = "its route"
            else:
                key = (told.name, told.version)
                if key in places:
                    raise ConfigurationError(
                        f"{file}: {told.name}@{told.version} is in {places[key]} already"
                    )
                places[key] = str(file)
                models.append(told)
                words = told.version if told.active else ""
            if words and told.name in chosen:
                both = f"{chosen[told.name]} and {words}"
                raise ConfigurationError(f"{file}: {told.name}: {both} cannot both be active")
            if words:
                chosen[told.name] = words
    return Declared(tuple(models), places, routes)


def declared_files(path: Path) -> list[Path]:
    """The files that are read of a file or folder. Raises OSError."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    found = (each for each in path.rglob("*") if each.suffix in SUFFIXES)
    return sorted(each for each in found if _is_shown(each.relative_to(path)))


def _files(path: Path) -> list[Path]:
    try:
        if not path.exists():
            raise NotFound(f"there is no file or folder {path}")
        return declared_files(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


def _is_shown(below: Path) -> bool:
    return not any(part.startswith(".") for part in below.parts)


def _told_in(file: Path, environment: Mapping[str, str]) -> Iterator[ModelConfig | NamedRoute]:
    content = _read(file)
    if content is None:
        return
    if not (isinstance(content, dict) and content.keys() & {"models", "routes"}):
        content = {"": [content]}
    elif extra := sorted(map(str, content.keys() - {"models", "routes"})):
        beside = "models" if "models" in content else "routes"
        raise ConfigurationError(
            f"{file}: {extra[0]} stands beside `{beside}`; put it into a model"
        )
    for part, listed in content.items():
        if listed is not None and not isinstance(listed, list):
            raise ConfigurationError(f"{file}: {part} must be a list")
        for number, told in enumerate(listed or ()):
            where = f"{file}: {part}[{number}]" if part else str(file)
            if not isinstance(told, dict):
                raise ConfigurationError(f"{where} must be a mapping, such as `name: my-model`")
            filled = _filled(told, environment, where)
            if part == "routes":
                yield _checked(NamedRoute, filled, where)
            else:
                yield _model(filled, file, where)


def _read(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{file}{line} is not valid YAML") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not a text in UTF-8") from None
    except RecursionError:
        raise ConfigurationError(f"{file} is nested too deeply") from None
    except ValueError:
        raise ConfigurationError(f"{file} holds a value that YAML cannot read") from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None


def _filled(value: Any, environment: Mapping[str, str], where: str) -> Any:
    """The value with what its texts refer to; a text that is one reference alone is YAML again."""
    if isinstance(value, dict):
        return {key: _filled(each, environment, where) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, environment, where) for each in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    text = _REFERENCE.sub(lambda found: _referred(found, environment, where), value)
    whole = _REFERENCE.fullmatch(value)
    # `keep_alive: ${SECONDS}` is a number, as it would be if it stood there.
    return _scalar(text) if whole and whole[1] else text


def _referred(found: re.Match[str], environment: Mapping[str, str], where: str) -> str:
    name, default = found[1], found[2]
    if name is None:
        return "$"
    if text := environment.get(name):
        return text
    if default is None:
        raise ConfigurationError(
            f"{where}: ${{{name}}} is not set; set the variable {name}, or write ${{{name}:-…}}"
        )
    return default


def _scalar(text: str) -> Any:
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text
    return found if isinstance(found, bool | int | float | str) else text


def _checked(kind: type[S], told: dict[Any, Any], where: str) -> S:
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in fault["loc"]) or "the whole"
        raise ConfigurationError(f"{where}: {field}: {fault['msg']}") from None


def _model(told: dict[Any, Any], file: Path, where: str) -> ModelConfig:
    config = _checked(ModelConfig, told, where)
    moved: dict[str, Any] = {"source": _from(file, config.source)}
    if config.adapter:
        own = {"source": _from(file, config.adapter.source)}
        moved["adapter"] = config.adapter.model_copy(update=own)
    return config.model_copy(update=moved)


def _from(file: Path, source: str) -> str:
    if not source.startswith(_RELATIVE):
        return source
    return os.path.normpath(file.parent.absolute() / source)
