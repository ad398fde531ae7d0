"""The processes that run models: one child each, started, fed, watched and ended by the node.

What does that, `supervisor`, is imported by its name: the children import this room too.
"""

from modelmora.workers.batches import Batches
from modelmora.workers.chunks import NOTHING_TOLD, Chunk, Told
from modelmora.workers.events import (
    ExitReason,
    ExitReport,
    GroupLike,
    Held,
    MetaLike,
    SpecLike,
    WorkerEvents,
    WorkLike,
)
from modelmora.workers.protocol import ItemResult

__all__ = [
    "NOTHING_TOLD",
    "Batches",
    "Chunk",
    "ExitReason",
    "ExitReport",
    "GroupLike",
    "Held",
    "ItemResult",
    "MetaLike",
    "SpecLike",
    "Told",
    "WorkLike",
    "WorkerEvents",
]
