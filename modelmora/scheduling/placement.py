"""Which device takes a replica, as pure arithmetic over the plans of those that may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from modelmora.scheduling.device import Device, Need
from modelmora.scheduling.residency import Plan, Verdict


class Cause(StrEnum):
    """Why a replica is loaded."""

    REQUESTS = "requests"
    """Requests wait for its model."""
    ORDER = "order"
    """Somebody wants it loaded."""
    AHEAD = "ahead"
    """Requests for it may come from a node that leaves, or that gives partitions to this one."""
    SHADOW = "shadow"
    """Copies of requests are there for it, and room that nobody else needs."""
    MINIMUM = "minimum"
    """Its model is loaded and has fewer than it is to have."""
    QUEUE = "queue"
    """All other replicas of its model compute, and what waits would take them long."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a replica goes, what is reserved for it there, why, and the batch known to fit."""

    device: Device
    need: Need
    cause: Cause
    safe_cost: int | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One device that may take the replica, and the plan there.

    `loss` is what those that would leave are worth together, `free` are the bytes that nobody
    holds, `before` whether the last replica of the model was there.
    """

    device: Device
    need: Need
    plan: Plan
    loss: float
    free: int
    before: bool


def combined(plans: Sequence[Plan]) -> Plan:
    """The plan of a replica that takes of several memories: it must have room in each."""
    verdict = max((plan.verdict for plan in plans), key=lambda verdict: verdict.value)
    if verdict is not Verdict.SOON:
        return Plan(verdict)
    return Plan(verdict, tuple(dict.fromkeys(one for plan in plans for one in plan.leave)))


def choose(options: Sequence[Option]) -> Option:
    """The device that takes the replica; options are not empty, the model's preferred kind first.

    (1) The first kind of which any could ever hold it; a model that a GPU can hold waits for one.
    (2) Where it can be loaded now; else where room is being made; else where it waits.
    (3) Where those that must leave are worth least together; of equals, where they are fewest.
    (4) Where its model was last. (5) Where most is free.
    """
    # (1) The kind.
    able = [one for one in options if one.plan.verdict is not Verdict.NEVER]
    if not able:
        return options[0]
    kind = able[0].device.kind
    # (2), (3), (4), (5)
    return min(
        (one for one in able if one.device.kind is kind),
        key=lambda one: (
            one.plan.verdict.value,
            one.loss,
            len(one.plan.leave),
            not one.before,
            -one.free,
        ),
    )
