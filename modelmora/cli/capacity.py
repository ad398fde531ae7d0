"""`modelmora capacity`: how many nodes, of how much memory, answer traffic in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from modelmora.cli.shared.options import JsonOption, ThreadsOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say
from modelmora.cli.shared.traces import bytes_of, read, say_no_room
from modelmora.errors import ConfigurationError
from modelmora.host.instance import Instance
from modelmora.kafka.topics import CLUSTER_PARTITIONS
from modelmora.node.policy import policy_of
from modelmora.records.reading import kept
from modelmora.simulate import Trace
from modelmora.simulate.capacity import Goal, Plan, plans
from modelmora.text import counted, duration, size

MOST_NODES = 10_000


@finds_instance
def capacity(
    where: Instance,
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE", help="Requests as JSON lines.", dir_okay=False)
    ],
    within: Annotated[
        float, typer.Option(metavar="S", min=0.001, max=1e6, help="Seconds until the answer.")
    ],
    share: Annotated[
        float, typer.Option(metavar="%", min=1, max=100, help="Of so many in a hundred requests.")
    ] = 95.0,
    nodes: Annotated[str, typer.Option(metavar="N..M", help="How many nodes to try.")] = "1..8",
    memory: Annotated[
        str | None,
        typer.Option(metavar="BYTES,…", help="Memory for models, such as 4G,8G,16G (the node's)."),
    ] = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Play traffic on several nodes: how many, of how much memory, answer it in time."""
    settings = where.settings
    if threads:
        settings = settings.model_copy(update={"cores": threads})
    policy = policy_of(settings)
    counts, goal = _range(nodes), Goal(within, share / 100)
    budgets = [policy.budget_bytes]
    if memory is not None:
        budgets = [bytes_of(each) for each in memory.split(",")]
    found = read(trace, kept(settings))
    rest = (
        goal,
        settings.topics.partitions or CLUSTER_PARTITIONS,
        settings.timing.request_timeout_ms,
    )
    told = [
        plan
        for budget in budgets
        for plan in plans(found, replace(policy, budget_bytes=budget), counts, *rest)
    ]
    if json:
        print_json([each.as_json() for each in told])
        return
    _show(told)
    _conclude(told, found, goal)
    for budget in budgets:
        say_no_room(found, budget)


def _range(given: str) -> Sequence[int]:
    """`1..8` or `3` as numbers of nodes. Raises ConfigurationError."""
    first, dots, last = given.partition("..")
    ends = [first, last if dots else first]
    if all(each.isascii() and each.isdecimal() and len(each) <= 5 for each in ends):
        low, high = map(int, ends)
        if 1 <= low <= high <= MOST_NODES:
            return range(low, high + 1)
    raise ConfigurationError(f"--nodes {given} must be a number or a range, such as 1..8")


def _show(told: Sequence[Plan]) -> None:
    heads = ("NODES", "MEMORY", "HELD", "LOADS", "BUSIEST", "P50", "P95", "P99", "IN TIME", "")
    print_table(
        heads,
        [
            (
                each.nodes,
                size(each.memory),
                size(each.most_held),
                each.loads,
                _percent(each.busiest),
                *map(_span, (each.p50, each.p95, each.p99)),
                _percent(each.in_time),
                "enough" if each.enough else "",
            )
            for each in told
        ],
        right=heads[:-1],
        drop=("P50", "HELD", "BUSIEST"),
    )


def _conclude(told: Sequence[Plan], trace: Trace, goal: Goal) -> None:
    wanted = f"{_percent(goal.share)} within {duration(1000 * goal.within_s)}"
    enough = [each for each in told if each.enough]
    if enough:
        best = min(enough, key=lambda each: (each.nodes * each.memory, each.nodes))
        many = counted(best.nodes, "node")
        say(f"{many} with {size(best.memory)} each: {wanted}; one more, and one may be missing")
        return
    say(f"none of these is enough for {wanted}")
    last = told[-1]
    if last.latest:
        model, count = last.latest
        hint = ", which lies on one partition: `spread` lays it on several"
        cost = trace.models[model]
        is_alone = last.nodes > 1 and cost.spread == 1 and (cost.bytes or 0) <= last.memory
        alone = hint if is_alone else ""
        say(f"{count} of those that are late are of {model}{alone}")


def _span(seconds: float | None) -> str | None:
    return None if seconds is None else duration(1000 * seconds)


def _percent(share: float) -> str:
    """Rounded down, so that what is not all does not look so."""
    return f"{int(share * 1000) / 10:.1f} %"
