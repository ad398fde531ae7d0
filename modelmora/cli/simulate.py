"""`modelmora simulate`: what traffic would wait, load and hold on a node with so much memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelmora.cli.shared.options import JsonOption, ThreadsOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say
from modelmora.cli.shared.traces import bytes_of, read, say_no_room
from modelmora.host.instance import Instance
from modelmora.node.policy import policy_of
from modelmora.records.reading import kept
from modelmora.simulate.plot import plot
from modelmora.simulate.report import Outlook, Waits, outlook
from modelmora.text import duration, size


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
        budgets = [bytes_of(each) for each in memory.split(",")]
    found = read(trace, kept(settings))
    timeout_ms = settings.timing.request_timeout_ms
    told = [outlook(found, policy, each, timeout_ms) for each in budgets]
    if plot_to:
        plot_to.write_text(plot(told), "utf-8")
    if json:
        print_json([each.as_json() for each in told])
    else:
        _show(told)
    for each in told:
        say_no_room(found, each.memory)


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
