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
)
from modelmora.engines.catalog import (
    CATALOG,
    TESTING,
    EngineEntry,
    InputKind,
    ParameterSpec,
    entry_for,
    kind_of,
    settings_for,
)

__all__ = [
    "CATALOG",
    "TESTING",
    "Engine",
    "EngineEntry",
    "InputKind",
    "LoadError",
    "OnStep",
    "Outputs",
    "ParameterSpec",
    "Plan",
    "Row",
    "Step",
    "SteppedEngine",
    "Withdrawn",
    "entry_for",
    "kind_of",
    "settings_for",
]
