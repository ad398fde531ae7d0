"""What the settings and the machine make of the scheduler's numbers and the models' enclosure."""

from __future__ import annotations

import structlog

from modelmora.errors import ConfigurationError
from modelmora.resources import available_memory
from modelmora.sandbox import Mode, missing_layers
from modelmora.scheduling import Policy
from modelmora.settings import Settings

log = structlog.get_logger(__name__)
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
        start_to_close_s=timing.start_to_close_s,
        solo_crashes=_SOLO_CRASHES,
    )


def sandbox_mode(settings: Settings) -> Mode:
    """How well children must be enclosed; what this machine lacks for it is logged.

    Raises ConfigurationError where that is too much.
    """
    mode = Mode(settings.sandbox)
    lacks = missing_layers() if mode is not Mode.OFF else ()
    if lacks and mode is Mode.REQUIRED:
        raise ConfigurationError(
            f"`sandbox: required`, and this machine has no {', no '.join(lacks)}; "
            "use a newer kernel, or `sandbox: best-effort`"
        )
    if lacks:
        log.warning("models' processes are not fully enclosed", missing=lacks)
    return mode
