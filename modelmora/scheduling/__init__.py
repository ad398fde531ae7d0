"""What runs next, which group goes to which child, which model must leave (pure)."""

from modelmora.scheduling.device import Device, Need, ram
from modelmora.scheduling.effects import Chunk, Effects, ItemResult
from modelmora.scheduling.line.work import Cancelled, Group, Position, Work
from modelmora.scheduling.model import (
    KillReason,
    ModelKey,
    ModelSpec,
    ModelStatus,
    ReplicaStatus,
    State,
)
from modelmora.scheduling.placement import Cause, Placement
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.scheduler import Scheduler

__all__ = [
    "Cancelled",
    "Cause",
    "Chunk",
    "Device",
    "Effects",
    "Group",
    "ItemResult",
    "KillReason",
    "ModelKey",
    "ModelSpec",
    "ModelStatus",
    "Need",
    "Placement",
    "Policy",
    "Position",
    "ReplicaStatus",
    "Scheduler",
    "State",
    "Work",
    "ram",
]
