"""The scheduler's numbers, from the settings and the machine."""

from __future__ import annotations

from modelmora.resources import available_memory
from modelmora.scheduling import Policy
from modelmora.settings import Settings

_MEMORY_SHARE = 0.8
# One more than it takes to find a poison: children are killed from outside too, and a request
# that met two such deaths alone is innocent.
_SOLO_CRASHES = 3


def policy_of(settings: Settings) -> Policy:
    """The policy of a node with these settings on this machine."""
    budget = settings.memory.budget_bytes or int(available_memory() * _MEMORY_SHARE)
    limits, timing = settings.limits, settings.timing
    return Policy(
        cores=settings.cores,
        budget_bytes=budget,
        ageing_s=timing.ageing_s,
        group_requests=limits.group_requests,
        group_bytes=limits.group_bytes,
        group_wait_s=limits.group_wait_ms / 1000,
        load_s=timing.load_s,
        keep_alive_s=timing.keep_alive_s,
        start_to_close_s=timing.start_to_close_s,
        solo_crashes=_SOLO_CRASHES,
    )
