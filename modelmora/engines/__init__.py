"""The engines: one class per task, each run inside a child process."""

from modelmora.engines.base import (
    Engine,
    LoadError,
    OnStep,
    Outputs,
    Plan,
    Row,
    Step,
    SteppedEngine,
    Withdrawn,
    as_batches,
    texts_of,
)
from modelmora.engines.catalog import CATALOG, TESTING, entry_for
from modelmora.engines.entries import EngineEntry, InputKind, ParameterSpec, kind_of, settings_for
from modelmora.engines.files import ModelFiles, broken, read_json

__all__ = [
    "CATALOG",
    "TESTING",
    "Engine",
    "EngineEntry",
    "InputKind",
    "LoadError",
    "ModelFiles",
    "OnStep",
    "Outputs",
    "ParameterSpec",
    "Plan",
    "Row",
    "Step",
    "SteppedEngine",
    "Withdrawn",
    "as_batches",
    "broken",
    "entry_for",
    "kind_of",
    "read_json",
    "settings_for",
    "texts_of",
]
