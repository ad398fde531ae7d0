"""What holds of the facts of every event, whoever wrote it."""

from __future__ import annotations

from modelmora.messages import FACTS, LifecycleEvent

UNITS = ("_ms", "_bytes", "_share", "_offset", "_offsets")
PLAIN = {
    "replica", "exit_code", "partition", "cores", "nodes", "replicas", "letters", "partitions",
    "sequence", "answered", "unanswered",
    "candidate_requests", "baseline_requests", "pairs",
}  # fmt: skip
"""Numbers that measure nothing."""


def faults(event: LifecycleEvent) -> list[str]:
    """What is wrong with the facts of an event."""
    known = FACTS.get(event.kind, ())
    found = [f"{name} is no fact of {event.kind}" for name in event.facts if name not in known]
    for name, value in event.facts.items():
        if isinstance(value, bool) or value in ("True", "False", "None"):
            found.append(f"{name} is {value}")
        elif isinstance(value, int | float):
            if not (name.endswith(UNITS) or name in PLAIN):
                found.append(f"{name} has no unit")
            if (name.endswith("_share") and value > 1) or (name != "exit_code" and value < 0):
                found.append(f"{name} is {value}")
    return found
