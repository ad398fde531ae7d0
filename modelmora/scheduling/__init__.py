"""What runs next, which group goes to which child, which model must leave (pure)."""

from modelmora.scheduling.effects import Chunk, Effects, ItemResult
from modelmora.scheduling.model import KillReason, ModelKey, ModelSpec, ModelStatus, State
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.scheduler import Scheduler
from modelmora.scheduling.work import Cancelled, Group, Position, Work

__all__ = [
    "Cancelled",
    "Chunk",
    "Effects",
    "Group",
    "ItemResult",
    "KillReason",
    "ModelKey",
    "ModelSpec",
    "ModelStatus",
    "Policy",
    "Position",
    "Scheduler",
    "State",
    "Work",
]
