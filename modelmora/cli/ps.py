"""`modelmora ps`: the models of the running node, what they hold and what waits for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelmora.cli.shared.options import AllOption, JsonOption, finds_instance
from modelmora.cli.shared.output import Cell, node_name, print_json, print_table, say
from modelmora.host.instance import Instance
from modelmora.text import duration, size

COLUMNS = (
    "NAME", "VERSION", "STATE", "DEVICE", "PID", "RAM", "GPU", "QUEUE", "IDLE", "UNTIL"
)  # fmt: skip


@finds_instance
def ps(where: Instance, all_nodes: AllOption = False, json: JsonOption = False) -> None:
    """Show the models of the running node, or of all nodes: state, process, memory, queue.

    QUEUE counts what waits and what runs. UNTIL is in how long an idle model leaves memory, or a
    load that failed is tried again.
    """
    cluster = all_nodes or where.elsewhere
    models = _everywhere(where) if cluster else where.ask_node("GET", "/health/models")
    if json:
        print_json(models)
        return
    print_table(
        ("NODE", *COLUMNS) if cluster else COLUMNS,
        [(*((node_name(model["node"]),) if cluster else ()), *_row(model)) for model in models],
        right=("PID", "RAM", "GPU", "QUEUE", "IDLE", "UNTIL"),
        drop=("DEVICE", "GPU", "PID", "IDLE", "VERSION", "RAM"),
    )
    for model in models:
        if reason := model.get("reason"):
            say(f"{model['name']}@{model['version']}: {reason}{_next(model)}")


def _everywhere(where: Instance) -> list[dict[str, Any]]:
    from modelmora.cli.cluster.nodes import nodes_of  # who asks one node needs no Kafka

    return [*nodes_of(where).rows()]


def _row(model: Mapping[str, Any]) -> tuple[Cell, ...]:
    idle_s = model.get("idle_s")
    return (
        model["name"],
        model["version"],
        model["state"],
        model.get("device"),
        model.get("pid"),
        size(model["memory_bytes"]) if model.get("memory_bytes") else None,
        size(model["gpu_bytes"]) if model.get("gpu_bytes") else None,
        (model.get("waiting") or 0) + (model.get("running") or 0),
        None if idle_s is None else duration(idle_s * 1000),
        _until(model),
    )


def _until(model: Mapping[str, Any]) -> str | None:
    if model.get("pinned"):
        return "pinned"
    if model.get("leaves_s") is not None:
        return duration(model["leaves_s"] * 1000)
    wait_ms = model.get("retry_after_ms")
    return duration(wait_ms) if wait_ms else None


def _next(model: Mapping[str, Any]) -> str:
    """What becomes of a model that could not be loaded."""
    if "retry_after_ms" not in model:
        return ""  # of other nodes only the reason is told
    wait_ms = model["retry_after_ms"]
    if wait_ms is None:
        return "; it is served again once that is mended"
    if not wait_ms:
        return "; the next request tries again"
    order = f", `modelmora load {model['name']}` at once" if model["state"] == "quarantined" else ""
    return f"; the first request in {duration(wait_ms)} tries again{order}"
