"""The settings as a commented file to start from, and as a JSON Schema by which editors help."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from modelmora.settings.fields import Settings
from modelmora.settings.models import ModelConfig
from modelmora.settings.routes import NamedRoute
from modelmora.settings.sources import is_secret, variable_of

SCHEMA_FILE = Path(__file__).with_name("schema.json")
MODELS_SCHEMA_FILE = Path(__file__).with_name("models.schema.json")
WIDTH = 98
MODELS = """\
models:
  - name: my-model
    task: txt2embed
    source: /path/to/a/folder
"""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the settings file, as it is shipped in `SCHEMA_FILE`."""
    schema = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def template(schema: str | None = None) -> str:
    """`modelmora.yaml` with every setting at its default, commented out.

    Its first line tells editors (the YAML language server) where the schema is.
    """
    head = [
        f"# yaml-language-server: $schema={schema or SCHEMA_FILE}",
        "## The settings of ModelMora. What is commented out stands at its default: to change it,",
        "## take away its first # and its section's. MODELMORA_* variables and flags go above.",
    ]
    return "\n".join([*head, *_section(Settings, ())]) + "\n"


def _section(section: type[BaseModel], at: tuple[str, ...]) -> Iterator[str]:
    indent = "  " * len(at)
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield ""
            yield from _comment((kind.__doc__ or "").partition("\n")[0], "")
            yield f"#{name}:"
            yield from _section(kind, (*at, name))
        else:
            if not indent:
                yield ""
            where = f"; only as {variable_of((*at, name))}" if is_secret(kind) else ""
            yield from _comment(_plain(field.description or "") + where, indent)
            if where:
                continue
            text = MODELS if name == "models" else yaml.safe_dump({name: _value(field.default)})
            yield from (f"#{indent}{line}" for line in text.splitlines())


def _comment(text: str, indent: str) -> Iterator[str]:
    lines = textwrap.wrap(text, WIDTH - len(indent), break_on_hyphens=False)
    # Within a section the comment survives the taking away of the first #.
    yield from (f"#{indent}## {line}" if indent else f"## {line}" for line in lines)


def _plain(markdown: str) -> str:
    """A description without marks and links; a setting that is none in prose is null in YAML."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")
    return re.sub(r"\bnone(?=( of both)? =)", "null", words)


def _value(default: Any) -> Any:
    return str(default) if isinstance(default, Path) else default


def models_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a file of models, as it is shipped in `MODELS_SCHEMA_FILE`."""
    defs: dict[str, Any] = {}
    for kind in (ModelConfig, NamedRoute):
        own = kind.model_json_schema()
        defs |= own.pop("$defs", {})
        defs[kind.__name__] = own
    one = {"$ref": "#/$defs/ModelConfig"}
    listed = {"models": one, "routes": {"$ref": "#/$defs/NamedRoute"}}
    several = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {name: {"type": "array", "items": each} for name, each in listed.items()},
    }
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "$defs": defs, "anyOf": [one, several]}


def write_schema() -> None:
    """Bring both files up to date."""
    for file, schema in ((SCHEMA_FILE, json_schema()), (MODELS_SCHEMA_FILE, models_schema())):
        file.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_schema()
