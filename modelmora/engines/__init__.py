"""The engines: one class per task, each run inside a child process."""

from modelmora.engines.base import Engine, LoadError, Plan, Row
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
    "ParameterSpec",
    "Plan",
    "Row",
    "entry_for",
    "kind_of",
    "settings_for",
]
