"""`modelmora traffic`: requests as `modelmora simulate` plays them, of a cluster or made up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from modelmora.cli.shared.options import finds_instance
from modelmora.cli.shared.output import say
from modelmora.deadletters.letters import since_ms
from modelmora.diagnostics.recording import seen
from modelmora.errors import ConfigurationError
from modelmora.host.instance import Instance
from modelmora.simulate import Trace, lines_of
from modelmora.simulate.invent import Invention, invent
from modelmora.simulate.record import record as recorded
from modelmora.text import counted

app = typer.Typer(no_args_is_help=True, help="Requests for `simulate`: recorded, or made up.")

TraceArgument = Annotated[
    Path, typer.Argument(metavar="TRACE", help="The file to write.", dir_okay=False)
]


@app.command("record")
@finds_instance
def record(
    where: Instance,
    trace: TraceArgument,
    since: Annotated[str, typer.Option(metavar="SPAN|TIME", help="From: 2h, a time.")] = "1h",
    until: Annotated[str | None, typer.Option(metavar="SPAN|TIME", help="Up to (now).")] = None,
) -> None:
    """Write what the cluster was asked, and what it cost; never what was in it."""
    now_ms = time.time_ns() // 1_000_000
    span = since_ms(since, now_ms), since_ms(until, now_ms) if until else now_ms
    made = recorded(*seen(where.kafka(), span, say))
    if not made.trace.requests:
        raise ConfigurationError("no request lies there; requests are kept 24 h, outcomes 1 h")
    _write(trace, made.trace)
    if made.unknown:
        say(f"{counted(made.unknown, 'request')} left out: no outcome tells their model")
    for name, cost in made.trace.models.items():
        if cost.bytes is None or cost.load_s is None:
            lacks = "bytes" if cost.bytes is None else "load_s"
            say(f"no node has measured {name}: write its `{lacks}` into the first line")


@app.command("invent")
def make_up(
    trace: TraceArgument,
    models: Annotated[int, typer.Option(metavar="N", min=1, max=999, help="How many.")] = 8,
    rate: Annotated[float, typer.Option(metavar="N", min=0.001, help="Requests a second.")] = 2.0,
    seconds: Annotated[float, typer.Option(metavar="S", min=1, max=1e6, help="How long.")] = 600.0,
    zipf: Annotated[
        float, typer.Option(metavar="S", min=0, max=10, help="0: all models alike.")
    ] = 1.0,
    burst: Annotated[float, typer.Option(metavar="N", min=1, help="Requests at a moment.")] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", help="The same gives the same.")] = 1,
) -> None:
    """Make requests up: arrivals by chance, favourites by Zipf's law."""
    _write(trace, invent(Invention(models, rate, seconds, zipf, burst, seed)))


def _write(path: Path, trace: Trace) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines_of(trace))
    requests = counted(len(trace.requests), "request")
    say(f"{path}: {requests} of {counted(len(trace.models), 'model')}")
