"""`modelmora ps`: the models of the running node, what they hold and what waits for them."""

from __future__ import annotations

from modelmora.cli.options import JsonOption, finds_instance
from modelmora.cli.output import print_json, print_table, say
from modelmora.host.instance import Instance
from modelmora.text import duration, size

COLUMNS = ("NAME", "VERSION", "STATE", "PID", "RAM", "WAITING", "RUNNING", "IDLE")


@finds_instance
def ps(where: Instance, json: JsonOption = False) -> None:
    """Show the models of the running node: state, process, memory, queue."""
    models = where.ask_node("GET", "/health/models")
    if json:
        print_json(models)
        return
    print_table(
        COLUMNS,
        [
            (
                model["name"],
                model["version"],
                model["state"],
                model.get("pid"),
                size(model["memory_bytes"]) if model.get("memory_bytes") else None,
                model.get("waiting"),
                model.get("running"),
                None if model.get("idle_s") is None else duration(model["idle_s"] * 1000),
            )
            for model in models
        ],
        right=("PID", "RAM", "WAITING", "RUNNING", "IDLE"),
        drop=("IDLE", "PID", "RUNNING", "RAM"),
    )
    for model in models:
        if reason := model.get("reason"):
            say(f"{model['name']}@{model['version']}: {reason}; {_next(model['retry_after_ms'])}")


def _next(retry_after_ms: int | None) -> str:
    """What becomes of a model that could not be loaded."""
    if retry_after_ms is None:
        return "it is served again once that is mended"
    if retry_after_ms:
        return f"the first request in {duration(retry_after_ms)} tries again"
    return "the next request tries again"
