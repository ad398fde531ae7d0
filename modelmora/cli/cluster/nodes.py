"""`modelmora nodes`, and what `ps` and `list` show of a whole cluster: all nodes, by their word."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from modelmora.cli.shared.options import JsonOption, finds_instance
from modelmora.cli.shared.output import Cell, node_name, print_json, print_table, say
from modelmora.diagnostics.nodes import Nodes, loaded, read_nodes
from modelmora.host.instance import Instance
from modelmora.kafka.leases import NodeLease
from modelmora.kafka.reading.shown import Reader
from modelmora.text import counted, duration, size


def nodes_of(where: Instance) -> Nodes:
    """The nodes of the cluster that was named, or else of the instance's."""
    settings = where.kafka()
    with Reader(settings, say) as reader:
        return read_nodes(reader, settings)


@finds_instance
def nodes(where: Instance, json: JsonOption = False) -> None:
    """Show the nodes of the cluster: partitions, models, memory, queue.

    A node that stands by has no partition; a silent one ended without a word. TOLD is how long ago
    a node has spoken last, by the clocks of broker and shell.
    """
    found = nodes_of(where)
    states = {each.node: "running" if each.partitions else "standby" for each in found.living}
    told = [*_by_name(found.living), *_by_name(found.lapsed)]
    rows = [_told(each, states.get(each.node, "silent")) for each in told]
    if json:
        print_json(rows)
        return
    print_table(
        ("NODE", "STATE", "PARTITIONS", "MODELS", "LOADED", "RAM", "GPU", "QUEUE", "TOLD"),
        [_row(each) for each in rows],
        right=("PARTITIONS", "MODELS", "LOADED", "RAM", "GPU", "QUEUE", "TOLD"),
        drop=("GPU", "TOLD", "RAM"),
    )
    if not rows:
        say("no node runs; start one with `modelmora serve`")


def _by_name(nodes: Iterable[NodeLease]) -> list[NodeLease]:
    return sorted(nodes, key=lambda each: each.node)


def _told(node: NodeLease, state: str) -> dict[str, Any]:
    holding = [node.holds(model) for model in node.models()]
    return {
        "node": node.node,
        "state": state,
        "partitions": list(node.partitions),
        "models": sorted(node.models()),
        "loaded": loaded(node),
        "memory_bytes": sum(each.memory_bytes for each in holding),
        "gpu_bytes": sum(each.gpu_bytes for each in holding),
        "waiting": sum(each.waiting for each in holding),
        "running": sum(each.running for each in holding),
        "told_ms": node.told_ms,
    }


def _row(told: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        node_name(told["node"]),
        told["state"],
        len(told["partitions"]),
        len(told["models"]),
        told["loaded"],
        size(told["memory_bytes"]) if told["memory_bytes"] else None,
        size(told["gpu_bytes"]) if told["gpu_bytes"] else None,
        told["waiting"] + told["running"],
        duration(max(0.0, time.time() * 1000 - told["told_ms"])),
    )


def list_cluster(where: Instance, task: str | None, *, json: bool) -> int:
    """The models of the registry and of the nodes, and on which nodes each is loaded."""
    found = nodes_of(where)
    served = {model: kind for node in found.living for model, kind in node.serves.items()}
    models = {**found.registered, **served}
    rows: list[dict[str, Any]] = [
        {
            "name": model.partition("@")[0],
            "version": model.partition("@")[2],
            "task": kind,
            "nodes": {name: each.state.value for name, each in found.health(model).items()},
        }
        for model, kind in sorted(models.items())
        if task in (None, kind)
    ]
    if json:
        print_json(rows)
        return 0
    print_table(
        ("NAME", "VERSION", "TASK", "NODES"),
        [(each["name"], each["version"], each["task"], _standing(each["nodes"])) for each in rows],
        drop=("TASK",),
    )
    return 0


def _standing(states: Mapping[str, str]) -> str:
    """As `ready on 2, cold on 1`."""
    order = list(dict.fromkeys(sorted(states.values(), key=lambda each: each != "ready")))
    told = [f"{each} on {counted(list(states.values()).count(each), 'node')}" for each in order]
    return ", ".join(told) or "served by no node"
