"""What the registry topic says: which record of each key counts, and how a model is told in one."""

from modelmora.records.state import GONE, Entry, Registry
from modelmora.records.telling import (
    default_key,
    details_of,
    key_of,
    model_key,
    record_of,
    route_key,
)

__all__ = [
    "GONE",
    "Entry",
    "Registry",
    "default_key",
    "details_of",
    "key_of",
    "model_key",
    "record_of",
    "route_key",
]
