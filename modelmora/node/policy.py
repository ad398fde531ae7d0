"""What the settings and the machine make of the scheduler's numbers and the models' enclosure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile

import structlog

from modelmora.errors import ConfigurationError
from modelmora.messages import DeviceKind
from modelmora.resources import available_memory
from modelmora.resources.gpus import Gpu, chosen, list_gpus
from modelmora.sandbox import Mode, missing_layers
from modelmora.scheduling import Device, Policy
from modelmora.settings import MemorySettings, Settings

log = structlog.get_logger(__name__)
_MEMORY_SHARE = 0.8
# One more than it takes to find a poison: children are killed from outside too, and a request
# that met two such deaths alone is innocent.
_SOLO_CRASHES = 3


def policy_of(settings: Settings) -> Policy:
    """The policy of a node with these settings on this machine. Raises ConfigurationError."""
    budget = settings.memory.budget_bytes or int(available_memory() * _MEMORY_SHARE)
    limits, timing = settings.limits, settings.timing
    return Policy(
        cores=settings.cores,
        budget_bytes=budget,
        gpus=gpus_of(settings.memory, list_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")),
        ageing_s=timing.ageing_s,
        group_requests=limits.group_requests,
        group_bytes=limits.group_bytes,
        group_wait_s=limits.group_wait_ms / 1000,
        load_s=timing.load_s,
        keep_alive_s=timing.keep_alive_s,
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


def gpus_of(
    memory: MemorySettings, there: Sequence[Gpu], visible: str | None
) -> tuple[Device, ...]:
    """The GPUs to use, with what models may take of each. Raises ConfigurationError.

    `visible` is this process's CUDA_VISIBLE_DEVICES, which counts unless the settings name some. As
    in CUDA what follows a name of none is not seen. Numbers are taken as the driver's, which are
    those of CUDA with CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    names = memory.gpus
    if names is None and visible is not None:
        told = map(str.strip, visible.split(","))
        names = tuple(takewhile(lambda name: name and chosen(there, [name])[0], told))
    used, unknown = (tuple(there), ()) if names is None else chosen(there, names)
    if unknown and memory.gpus:
        has = ", ".join(gpu.number for gpu in there) or "none"
        raise ConfigurationError(
            f"memory.gpus names {unknown[0]!r}, which this machine does not have; it has: {has}"
        )
    return tuple(
        Device(
            gpu.uuid,
            DeviceKind.CUDA,
            memory.gpu_bytes or int(gpu.free * memory.gpu_share),
            f"cuda:{gpu.number}",
        )
        for gpu in used
    )
