"""Whether a copy of a request may begin: nobody waits for it, so it is run behind all else."""

from __future__ import annotations

from modelmora.messages import State
from modelmora.scheduling.fleet import Fleet
from modelmora.scheduling.model import ModelKey
from modelmora.scheduling.placement import Cause
from modelmora.scheduling.policy import Policy
from modelmora.scheduling.residency import Verdict
from modelmora.scheduling.state import Model, Replica


class Behind:
    """The scheduler's own part: work for which nobody waits."""

    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        self._fleet = fleet
        self._policy = policy

    def may_begin(self, key: ModelKey, now: float) -> bool:
        """Whether a copy for the model is to be submitted at `now` (monotonic s), or waits on.

        (1) The model is not here, or cannot be loaded for now: yes, it is told so at once.
        (2) Anything waits here that is no copy: no.
        (3) A child has nothing to do, or steps what it has and has a slot free: yes.
        (4) No child, but room for one, which nobody has to leave and nobody else waits for: it is
            loaded, and the copy waits for that.
        (5) Else no.
        """
        fleet, model = self._fleet, self._fleet.models.get(key)
        # (1) Told why not.
        if model is None or model.removed or fleet.hopeless(model) or _rests(model, now):
            return True
        # (2) Others wait.
        if any(len(one.queue) for one in fleet.models.values()):
            return False
        # (3) A place.
        if any(self._is_free(child, now) for child in model.replicas.values()):
            return True
        # (4) Room.
        if not model.replicas and not fleet.closed and all(map(fleet.hopeless, fleet.comers(now))):
            option = fleet.place(model, now)
            if option.plan.verdict is Verdict.NOW:
                model.life.behind = True
                fleet.load(model, option, Cause.SHADOW, now)
                fleet.tell(now)
        # (5) Later.
        return False

    def _is_free(self, child: Replica, now: float) -> bool:
        if child.state is not State.READY or (child.runs and not child.model.spec.slots):
            return False
        return child.takes_next(self._policy, now)


def _rests(model: Model, now: float) -> bool:
    """Whether its last load has failed, and the next is not to be tried yet."""
    return now < model.retry_at and not model.stays
