"""What a node tells of its models: a row for each."""

from __future__ import annotations

from typing import Any

from modelmora.serving import Service
from modelmora.workers import Supervisor


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
            "device": ", ".join(dict.fromkeys(one.device for one in status.replicas)) or None,
            "pid": next((pids.get(one.id) for one in status.replicas), None),
            "memory_bytes": status.bytes,
            "gpu_bytes": sum(one.gpu_bytes for one in status.replicas),
            "waiting": status.waiting,
            "running": status.started,
            "idle_s": status.idle_s,
            "leaves_s": status.leaves_s,
            "pinned": status.pinned,
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
