"""What a node tells of its models: a row for each."""

from __future__ import annotations

from typing import Any

from modelmora.serving import Service
from modelmora.workers import Supervisor


def model_rows(service: Service, workers: Supervisor) -> list[dict[str, Any]]:
    """Each model with its state, process and memory."""
    pids = workers.pids
    pid_of = {key: pids.get(replica) for replica, key in service.replicas.items()}
    specs = service.catalogue.specs
    return [
        {
            "name": status.key[0],
            "version": status.key[1],
            "task": specs[status.key].task,
            "state": status.health.state.value,
            "device": "cpu" if status.bytes else None,
            "pid": pid_of.get(status.key),
            "memory_bytes": status.bytes,
            "gpu_bytes": 0,
            "waiting": status.waiting,
            "running": status.started,
            "idle_s": status.idle_s,
            "leaves_s": status.leaves_s,
            "pinned": status.pinned,
            "reason": status.health.reason,
            "retry_after_ms": status.health.retry_after_ms,
        }
        for status in service.status()
        if status.key in specs
    ]
