"""Which models exist: configured, installed, or packaged."""

from modelmora.registry.definitions import ModelDefinition, served_or_faults
from modelmora.registry.install import install
from modelmora.registry.look import Looker

__all__ = ["Looker", "ModelDefinition", "install", "served_or_faults"]
