"""Whether a model in memory should have one replica more or less, as a pure function."""

from __future__ import annotations

from dataclasses import dataclass

from modelmora.scheduling.model import KillReason, ModelSpec
from modelmora.scheduling.placement import Cause
from modelmora.scheduling.policy import Policy


@dataclass(frozen=True, slots=True)
class Pressure:
    """A model at one moment: how many replicas are ready, how many of them compute.

    `coming` are being loaded. `wait_s` is how long the ready ones would take for what waits; while
    nothing was measured, how long its oldest request has waited. `spare_s` is the longest that a
    ready one has had nothing to do, 0 where all compute. `load_s` is what a load takes, by the
    mean.
    """

    ready: int
    coming: int
    computing: int
    wait_s: float
    spare_s: float
    load_s: float

    def worth_s(self, policy: Policy) -> float:
        """How long the queue must be for one more replica to be worth its load."""
        return max(policy.queue_s, self.load_s)


def rescale(pressure: Pressure, spec: ModelSpec, policy: Policy) -> Cause | KillReason | None:
    """Why there should be one more, or one less; None: as it is.

    (1) It is not loaded, or is on its way out: that is for requests and operators to decide.
    (2) Fewer than it is always to have: one more.
    (3) As many as it may have, or one is on its way, whose effect is to be seen first: not more.
    (4) All compute, and the queue is longer than `queue_s` and than a load: one more.
    (5) One has had nothing to do for `spare_s`, and the others are enough: one less.
    Between (4) and (5) lies most of a minute and a whole idle replica, so they do not take turns.
    """
    have = pressure.ready + pressure.coming
    # (1) Not for us.
    if not have:
        return None
    # (2) Too few.
    if have < spec.min_replicas:
        return Cause.MINIMUM
    # (3), (4) More.
    if have < spec.max_replicas and not pressure.coming:
        busy = pressure.computing == pressure.ready
        if busy and pressure.wait_s >= pressure.worth_s(policy):
            return Cause.QUEUE
    # (5) Less.
    if pressure.ready > spec.min_replicas and pressure.spare_s >= policy.spare_s:
        return KillReason.SPARE
    return None
