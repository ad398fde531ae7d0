"""Where models come from: the hub, packages, folders, S3, the web; each in a module of its own."""

from modelmora.registry.sources.base import Corrupt, File, Found, Progress, Source
from modelmora.registry.sources.choice import BUILT_IN, PACKAGE, Sources
from modelmora.registry.sources.references import Reference, Scheme

__all__ = [
    "BUILT_IN",
    "PACKAGE",
    "Corrupt",
    "File",
    "Found",
    "Progress",
    "Reference",
    "Scheme",
    "Source",
    "Sources",
]
