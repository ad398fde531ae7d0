"""What a node tells of its models: a row for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from modelmora.messages import Holding
from modelmora.scheduling import ModelStatus
from modelmora.serving import Offered, Service
from modelmora.workers.supervisor import Supervisor


def holding_of(status: ModelStatus, pids: Mapping[int, int]) -> Holding:
    """What a model holds and what waits for it; `pids` by replica."""
    return Holding(
        ", ".join(dict.fromkeys(one.device for one in status.replicas)) or None,
        next((pids.get(one.id) for one in status.replicas), None),
        status.bytes,
        sum(one.gpu_bytes for one in status.replicas),
        status.waiting,
        status.started,
        status.idle_s,
        status.leaves_s,
        status.pinned,
    )


def look(service: Service, workers: Supervisor) -> tuple[dict[str, Offered], dict[str, Holding]]:
    """What is served, and what each model holds, by name@version: of one moment."""
    statuses, pids = service.status(), workers.pids
    holding = {"@".join(status.key): holding_of(status, pids) for status in statuses}
    return service.standing(statuses), holding


def model_rows(service: Service, workers: Supervisor) -> list[dict[str, Any]]:
    """Each model with its state, its devices and memory, and each of its processes."""
    pids = workers.pids
    specs = service.catalogue.specs
    return [
        {
            "name": status.key[0],
            "version": status.key[1],
            "task": specs[status.key].task,
            "state": status.health.state.value,
            **asdict(holding_of(status, pids)),
            "reason": status.health.reason,
            "retry_after_ms": status.health.retry_after_ms,
            "replicas": [
                {
                    "pid": pids.get(one.id),
                    "device": one.device,
                    "state": one.state.value,
                    "memory_bytes": one.ram_bytes,
                    "gpu_bytes": one.gpu_bytes,
                    "running": one.started,
                }
                for one in status.replicas
            ],
        }
        for status in service.status()
        if status.key in specs
    ]
