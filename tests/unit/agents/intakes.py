"""Intakes of two partitions, and records that cost what a test says."""

from __future__ import annotations

from modelmora.agents.partitions.costs import REQUEST_COST
from modelmora.agents.partitions.intake import Intake
from modelmora.messages import Lane
from modelmora.settings import Limits
from modelmora.testing.fakes import FakeRecord

A, B = ("normal", 0), ("normal", 1)
LANES = {lane.label: lane for lane in Lane}


def record(
    offset: int, cost: int = 4000, partition: int = 0, lane: str = "normal", epoch: int = 1
) -> FakeRecord:
    value = b"x" * (cost - REQUEST_COST)
    return FakeRecord(lane, partition, offset, value=value, epoch=epoch)


def intake(*partitions: tuple[str, int], **limits: int) -> Intake:
    made = Intake(Limits.model_validate(limits), LANES)
    for partition in partitions or (A, B):
        made.assign(partition, 1, 0)
    return made
