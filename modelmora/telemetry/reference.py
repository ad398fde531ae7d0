"""The page of all metrics, written from their table: `python -m modelmora.telemetry.reference`."""

from __future__ import annotations

from pathlib import Path

from modelmora.telemetry.metrics import ALL, DOOR_S, GEN_AI_S, Part

FILE = Path(__file__).parents[2] / "docs/reference/metrics.md"
HEAD = """# Metrics

Nodes and gateways tell them at `/metrics`, as Prometheus reads it, and on the topic `metrics`.
This page is made of the table in the code (`python -m modelmora.telemetry.reference`). A histogram
has `_bucket`, `_sum` and `_count`. The label `model` is the name that requests give, of models that
are served; of all others it is empty. What to draw and to alert on: [Monitoring](../howto/monitoring.md).
"""  # noqa: E501
TITLES = {Part.NODE: "Nodes", Part.GATEWAY: "Gateways", Part.BOTH: "Both"}


def page() -> str:
    """All of them, as Markdown."""
    lines = [HEAD]
    for part, title in TITLES.items():
        lines += [f"## {title}", "", "| metric | type | labels | what it is |", "|---|---|---|---|"]
        for each in (each for each in ALL if each.part is part):
            labels = ", ".join(f"`{label}`" for label in each.labels) or "-"
            lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.means} |")
        lines.append("")
    lines += ["## Buckets", "", "Upper bounds in seconds.", ""]
    for title, bounds in (("nodes", GEN_AI_S), ("gateways", DOOR_S)):
        lines.append(f"- Of {title}: {', '.join(f'{bound:g}' for bound in bounds)}.")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    FILE.write_text(page())
