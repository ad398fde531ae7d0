"""Which version answers for a name, and which model for a task: one rule for nodes and people."""

from modelmora.routing.choosing import (
    Asking,
    Choice,
    Steps,
    alone,
    choose,
    idle,
    main_version,
    shared,
    step_at,
)
from modelmora.routing.names import NOBODY, Routes, routes, version_order, wished
from modelmora.routing.narrowing import all_narrowed, narrowed
from modelmora.routing.shadowing import may_be_copied, shadowed, shadows

__all__ = [
    "NOBODY",
    "Asking",
    "Choice",
    "Routes",
    "Steps",
    "all_narrowed",
    "alone",
    "choose",
    "idle",
    "main_version",
    "may_be_copied",
    "narrowed",
    "routes",
    "shadowed",
    "shadows",
    "shared",
    "step_at",
    "version_order",
    "wished",
]
