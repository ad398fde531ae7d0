"""Which models exist: configured, installed, or packaged."""

from modelmora.registry.definitions import (
    ModelDefinition,
    Served,
    served,
    served_or_faults,
)
from modelmora.registry.install import install
from modelmora.registry.look import Looked, Looker
from modelmora.registry.sources import resolve, weight_bytes
from modelmora.registry.watch import Fingerprint, fingerprint

__all__ = [
    "Fingerprint",
    "Looked",
    "Looker",
    "ModelDefinition",
    "Served",
    "fingerprint",
    "install",
    "resolve",
    "served",
    "served_or_faults",
    "weight_bytes",
]
