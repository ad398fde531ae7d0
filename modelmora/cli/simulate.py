"""`modelmora simulate`: what traffic would wait, load and hold on a node with so much memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from modelmora.cli.shared.options import JsonOption, ThreadsOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say
from modelmora.diagnostics.recording import costs_of
from modelmora.errors import ConfigurationError, Invalid
from modelmora.host.instance import Instance
from modelmora.node.policy import policy_of
from modelmora.records import Registry
from modelmora.records.reading import kept
from modelmora.simulate import Trace, read_trace
from modelmora.simulate.plot import plot
from modelmora.simulate.report import Outlook, Waits, outlook
from modelmora.text import duration, size

UNITS = {"": 1} | {
    f"{letter}{form}": base**power
    for power, letter in enumerate("kMGT", 1)
    for form, base in (("", 1000), ("B", 1000), ("i", 1024), ("iB", 1024))
}


@finds_instance
def simulate(
    where: Instance,
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE", help="Requests as JSON lines.", dir_okay=False)
    ],
    memory: Annotated[
        str | None,
        typer.Option(metavar="BYTES,…", help="Memory for models, such as 4G,8G,16G (the node's)."),
    ] = None,
    threads: ThreadsOption = None,
    plot_to: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw it too, as SVG.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Play traffic on the real scheduler: what it would wait, load and hold with so much memory."""
    settings = where.settings
    if threads:
        settings = settings.model_copy(update={"cores": threads})
    policy = policy_of(settings)
    budgets = [policy.budget_bytes]
    if memory is not None:
        budgets = [_bytes(each) for each in memory.split(",")]
    found = _read(trace, kept(settings))
    timeout_ms = settings.timing.request_timeout_ms
    told = [outlook(found, policy, each, timeout_ms) for each in budgets]
    if plot_to:
        plot_to.write_text(plot(told), "utf-8")
    if json:
        print_json([each.as_json() for each in told])
    else:
        _show(told)
    for each in told:
        if large := [
            name for name, cost in found.models.items() if (cost.bytes or 0) > each.memory
        ]:
            say(f"with {size(each.memory)} there is no room for {', '.join(large)}")


def _read(path: Path, registry: Registry) -> Trace:
    """The trace of a file. Raises Invalid."""
    try:
        with path.open("rb") as lines:
            return read_trace(lines, costs_of(registry))
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from None


def _bytes(given: str) -> int:
    """`4G`, `512Mi`, `8000000000` as bytes. Raises ConfigurationError."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]{0,3})", given.strip(), re.ASCII)
    units = {unit.lower(): factor for unit, factor in UNITS.items()}
    factor = units.get(found[2].lower()) if found else None
    count = int(float(found[1]) * factor) if found and factor else 0
    if not 0 < count < 1 << 60:
        raise ConfigurationError(f"--memory {given} must be bytes, such as 4G, 512Mi or 4G,8G,16G")
    return count


def _show(told: list[Outlook]) -> None:
    print_table(
        ("MEMORY", "HELD", "LOADS", "FIFO", "BELADY", "EXPIRED", "MEAN", "P50", "P95", "P99"),
        [
            (
                size(each.memory),
                size(each.most_held),
                each.loads,
                each.fifo_loads,
                each.belady_loads,
                each.waits.expired,
                *_spans(each.waits),
            )
            for each in told
        ],
        right=("MEMORY", "HELD", "LOADS", "FIFO", "BELADY", "EXPIRED", "MEAN", "P50", "P95", "P99"),
        drop=("P50", "HELD", "EXPIRED"),
    )
    if len(told) > 1:
        say("one of them alone, or --json, shows each model and lane")
        return
    print_table(
        ("MODEL", "LANE", "ASKED", "EXPIRED", "MEAN", "P50", "P95", "P99"),
        [
            (model, lane.label, waits.requests, waits.expired, *_spans(waits))
            for (model, lane), waits in told[0].by_model.items()
        ],
        right=("ASKED", "EXPIRED", "MEAN", "P50", "P95", "P99"),
        drop=("P50", "EXPIRED"),
    )


def _spans(waits: Waits) -> tuple[str | None, ...]:
    found: tuple[Any, ...] = (waits.mean, waits.p50, waits.p95, waits.p99)
    return tuple(None if each is None else duration(1000 * each) for each in found)
