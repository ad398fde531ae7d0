"""Loading a model that no request waits for: by order, or ahead of what others are asked for."""

from __future__ import annotations

from modelmora.messages import State
from modelmora.scheduling.fleet import Fleet
from modelmora.scheduling.life import stays_until
from modelmora.scheduling.placement import Cause
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.residency import Verdict
from modelmora.scheduling.state import Model


def load_unasked(fleet: Fleet, model: Model, policy: Policy, now: float, *, ahead: bool) -> None:
    """Load the model at `now` (monotonic s), or leave it where it stands.

    (1) By order: as soon as there is room, which others make, and to stay until it is used.
    (2) Else `ahead`, where nobody loses by that. Only one that is cold: not one that has failed;
    (3) not while another waits for room that it may have some day;
    (4) only where there is room for it, so that nothing has to leave;
    (5) not where it would leave at once, for it leaves as any model that has nothing to do.
    """
    # (1) By order.
    if not ahead:
        model.life.behind = False
        fleet.want(model)
        return
    # (2) Cold.
    if fleet.closed or model.state is not State.COLD:
        return
    # (3) Others wait.
    if not all(map(fleet.hopeless, fleet.comers(now))):
        return
    # (4) Room.
    option = fleet.place(model, now)
    if option.plan.verdict is not Verdict.NOW:
        return
    # (5) To stay.
    until = stays_until(model.life, model.spec.keep_alive_s, policy, now, pinned=model.pinned)
    if until > now:
        model.life.behind = False
        fleet.load(model, option, Cause.AHEAD, now)
