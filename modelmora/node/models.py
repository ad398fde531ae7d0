"""What a node tells of its models: a line for each to its supervisor, a row for each on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelmora.serving import Service
from modelmora.telemetry.notify import MODEL, UNREADABLE, notify
from modelmora.text import printable, shorten
from modelmora.workers import Supervisor

_FACT_CHARS = 500


class Told:
    """Tells the supervisor what has changed since the last time."""

    def __init__(self) -> None:
        self._told: Mapping[str, str] = {}

    def tell(self, service: Service, unreadable: tuple[str, ...]) -> None:
        """Write a line for each model, and for each definition that is none."""
        serves, failed = service.standing()
        told = {f"{MODEL}{name}": failed.get(name, "") for name in serves | failed}
        told |= {f"{UNREADABLE}{number}": why for number, why in enumerate(unreadable)}
        for name, why in told.items():
            if self._told.get(name) != why:
                notify(**{name: shorten(printable(why), _FACT_CHARS)})
        for name in self._told.keys() - told.keys():
            notify(**{name: None})
        self._told = told


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
            "state": status.state.value,
            "pid": pid_of.get(status.key),
            "memory_bytes": status.bytes,
            "waiting": status.waiting,
            "running": status.started,
            "idle_s": status.idle_s,
            "reason": status.reason,
            "retry_after_ms": status.retry_after_ms,
        }
        for status in service.status()
        if status.key in specs
    ]
