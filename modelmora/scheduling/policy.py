"""The numbers that steer scheduling; times in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from modelmora.scheduling.device import Device, ram

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Policy:
    """All numbers of one scheduler; a test or a simulation changes one and keeps the rest."""

    cores: int = 1
    budget_bytes: int = 1024 * MIB
    """RAM for models."""
    gpus: tuple[Device, ...] = ()
    ageing_s: float = 120.0
    """How long a (model, lane) queue may be passed over before one group of it runs."""
    group_requests: int = 128
    group_bytes: int = 1 * MIB
    group_wait_s: float = 0.0
    """How long a group that is not full waits for more; 0 = never."""
    groups_per_replica: int = 2
    """One runs, one is prepared. Only these can be repeated after a crash."""
    prepare_ahead_s: float = 0.05
    """How long before the end of a group the next one is prepared, going by its mean run time."""
    load_s: float = 600.0
    start_to_close_s: float = 300.0
    """How long a child may work without answering anything."""
    cancel_grace_s: float = 10.0
    """The same, once everything in its running group has been cancelled or has expired."""
    min_residency_s: float = 0.0
    """How long a loaded model is safe from making room for a model that has not aged."""
    residency_share: float = 0.25
    """The same as a share of what its load took, where that is longer."""
    queue_s: float = 5.0
    """How much may wait, in seconds of all its replicas, before a model gets one more."""
    spare_s: float = 60.0
    """How long a replica has had nothing to do before it is one too many."""
    load_crashes: int = 3
    """How many children in a row may die while loading before the load counts as failed."""
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    keep_alive_s: float = -1.0
    """How long a model stays with nothing to do; negative: until memory is needed."""
    strikes: int = 5
    """How often a model may bring a child down, with no answer in between, within the window."""
    strike_window_s: float = 3600.0
    quarantine_s: float = 60.0
    quarantine_max_s: float = 3600.0
    solo_crashes: int = 2
    """How often a work may bring its child down alone before it is failed."""
    returns: int = 8
    """How often a work may be handed back untouched by a dying child before it is failed."""

    @property
    def devices(self) -> tuple[Device, ...]:
        """RAM, then the GPUs."""
        return ram(self.budget_bytes), *self.gpus

    def backoff(self, failures: int) -> float:
        """Seconds until a load may be tried again after `failures` (>= 1) failed loads in a row."""
        return _doubled(self.backoff_s, failures, self.backoff_max_s)

    def quarantine(self, times: int) -> float:
        """Seconds that a model is quarantined for the `times`-th time (>= 1) in a row."""
        return _doubled(self.quarantine_s, times, self.quarantine_max_s)


def _doubled(first: float, times: int, most: float) -> float:
    return float(min(most, first * 2 ** min(times - 1, 30)))
