"""Runs all measurements in one go and tells what came out."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from modelmora.bench.chat import chats
from modelmora.bench.cold import cold_starts
from modelmora.bench.embedding import embeddings
from modelmora.bench.forms import onnx_forms
from modelmora.bench.guard import guarding
from modelmora.bench.guarded import guarded
from modelmora.bench.latency import latencies
from modelmora.bench.life import base_memory, swap, unloads
from modelmora.bench.once import exactly_once
from modelmora.bench.priority import critical, queue
from modelmora.bench.promises.goodput import goodputs
from modelmora.bench.promises.honest import estimates
from modelmora.bench.promises.nodes import comings
from modelmora.bench.promises.scale import scale_of_four
from modelmora.bench.promises.simulated import simulated
from modelmora.bench.rate import echo_rate
from modelmora.bench.report import Figure, show, write
from modelmora.bench.rest import rest
from modelmora.bench.shadow import shadow_cost
from modelmora.bench.stage import Stage, serving
from modelmora.bench.start import starts
from modelmora.bench.streams import streams
from modelmora.bench.swap import swaps
from modelmora.bench.text import texts
from modelmora.bench.tokens import tokens
from modelmora.bench.traced import tracing_cost

QUICK = 0.02
ONLY = (
    "start",
    "base",
    "queue",
    "guard",
    "guarded",
    "simulate",
    "swap",
    "once",
    "shadow",
    "tracing",
    "estimate",
    "scale",
    "goodput",
    "nodes",
    "echo",
    "latency",
    "embed",
    "cold",
    "unload",
    "critical",
    "text",
    "stream",
    "tokens",
    "chat",
    "rest",
)
EXTRA = ("onnx",)
"""What needs packages that are not ours: asked for by name."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write bench.json; 1 when `--check` is given and a goal missed."""
    parser = argparse.ArgumentParser(prog="modelmora bench", description=main.__doc__)
    parser.add_argument("--only", nargs="+", choices=ONLY + EXTRA, default=ONLY, metavar="WHAT")
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    parser.add_argument("--quick", action="store_true", help="see that all works; no figures")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    options = parser.parse_args(arguments)
    talk = Console(stderr=True)
    figures = measure(set(options.only), talk, QUICK if options.quick else 1.0)
    show(figures, Console())
    write(figures, options.output)
    talk.print(f"written to {options.output}")
    missed = any(figure.missed for figure in figures)
    return 1 if options.check and missed else 0


def measure(only: set[str], talk: Console, scale: float = 1.0) -> list[Figure]:
    """The figures that are asked for, in the order that disturbs them least."""
    figures: list[Figure] = []

    def add(what: str, found: list[Figure]) -> None:
        figures.extend(found)
        talk.print(f"[dim]{what} measured[/]")

    apart: dict[str, Callable[[], list[Figure]]] = {
        "queue": lambda: queue(scale),
        "guard": lambda: guarding(scale),
        "simulate": lambda: simulated(scale),
        "swap": swaps,
        "start": lambda: starts(scale),
        "once": lambda: exactly_once(scale),
        "shadow": lambda: shadow_cost(scale),
        "tracing": lambda: tracing_cost(scale),
        "estimate": lambda: estimates(scale),
        "scale": lambda: scale_of_four(scale),
        "goodput": lambda: goodputs(scale),
        "nodes": lambda: comings(scale),
        "cold": lambda: cold_starts(scale),
        "text": lambda: texts(scale),
        "stream": lambda: streams(scale),
        "chat": lambda: chats(scale),
        "onnx": lambda: onnx_forms(scale),
    }
    staged: dict[str, Callable[[Stage], list[Figure]]] = {
        "base": base_memory,
        "echo": echo_rate,
        "latency": latencies,
        "tokens": tokens,
        "rest": rest,
        "guarded": guarded,
        "embed": embeddings,
        "swap": swap,
        "unload": unloads,
        "critical": critical,  # last: it leaves the queue full
    }
    for what, take in apart.items():
        if what in only:
            add(what, take())
    if only & staged.keys():
        with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as folder:
            with serving(Path(folder), scale) as stage:
                for what, take_there in staged.items():
                    if what in only:
                        add(what, take_there(stage))
    return figures
