"""`modelmora simulate`: what traffic would wait, load and hold on a node with so much memory."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from modelmora.cli.shared.options import JsonOption, ThreadsOption, finds_instance
from modelmora.cli.shared.output import print_json, print_table, say
from modelmora.deadletters.letters import since_ms
from modelmora.diagnostics.recording import costs_of, seen
from modelmora.errors import ConfigurationError, Invalid
from modelmora.host.instance import Instance
from modelmora.node.policy import policy_of
from modelmora.records import Registry
from modelmora.records.reading import kept
from modelmora.simulate import Trace, lines_of, read_trace
from modelmora.simulate.invent import Invention, invent
from modelmora.simulate.plot import plot
from modelmora.simulate.record import record
from modelmora.simulate.report import Outlook, Waits, outlook
from modelmora.text import counted, duration, size

INVENT = "Invent"
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
    from_cluster: Annotated[
        bool, typer.Option("--record", help="Write TRACE from the cluster's topics instead.")
    ] = False,
    since: Annotated[
        str, typer.Option(metavar="SPAN|TIME", help="Record from then: 30min, 2h, a time.")
    ] = "1h",
    until: Annotated[
        str | None, typer.Option(metavar="SPAN|TIME", help="Record up to then (now).")
    ] = None,
    make: Annotated[
        bool, typer.Option("--invent", help="Make TRACE up instead.", rich_help_panel=INVENT)
    ] = False,
    models: Annotated[
        int, typer.Option(metavar="N", min=1, max=999, help="How many.", rich_help_panel=INVENT)
    ] = 8,
    rate: Annotated[
        float,
        typer.Option(metavar="N", min=0.001, help="Requests a second.", rich_help_panel=INVENT),
    ] = 2.0,
    seconds: Annotated[
        float, typer.Option(metavar="S", min=1, max=1e6, help="How long.", rich_help_panel=INVENT)
    ] = 600.0,
    zipf: Annotated[
        float,
        typer.Option(
            metavar="S", min=0, max=10, help="0: all models alike.", rich_help_panel=INVENT
        ),
    ] = 1.0,
    burst: Annotated[
        float,
        typer.Option(metavar="N", min=1, help="Requests at a moment.", rich_help_panel=INVENT),
    ] = 1.0,
    seed: Annotated[
        int, typer.Option(metavar="N", help="The same gives the same.", rich_help_panel=INVENT)
    ] = 1,
    json: JsonOption = False,
) -> None:
    """Play traffic on the real scheduler: what it would wait, load and hold with so much memory."""
    if make and from_cluster:
        raise ConfigurationError("give one of --record and --invent")
    if make:
        _write(trace, invent(Invention(models, rate, seconds, zipf, burst, seed)))
        return
    if from_cluster:
        _record(where, trace, since, until)
        return
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


def _record(where: Instance, path: Path, since: str, until: str | None) -> None:
    now_ms = time.time_ns() // 1_000_000
    span = since_ms(since, now_ms), since_ms(until, now_ms) if until else now_ms
    made = record(*seen(where.kafka(), span, say))
    if not made.trace.requests:
        raise ConfigurationError("no request lies there; requests are kept 24 h, outcomes 1 h")
    _write(path, made.trace)
    if made.unknown:
        say(f"{counted(made.unknown, 'request')} left out: no outcome tells their model")
    for name, cost in made.trace.models.items():
        if cost.bytes is None or cost.load_s is None:
            lacks = "bytes" if cost.bytes is None else "load_s"
            say(f"no node has measured {name}: write its `{lacks}` into the first line")


def _write(path: Path, trace: Trace) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines_of(trace))
    requests = counted(len(trace.requests), "request")
    say(f"{path}: {requests} of {counted(len(trace.models), 'model')}")


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
