"""Which models exist: configured, installed, or packaged."""

from modelmora.registry.definitions import ModelDefinition, served_or_faults
from modelmora.registry.install import Wish, install, install_wish
from modelmora.registry.look import Looker

__all__ = ["Looker", "ModelDefinition", "Wish", "install", "install_wish", "served_or_faults"]
