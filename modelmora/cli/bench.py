"""`modelmora bench`: measure this machine; the arguments go to the benchmark as they are."""

from __future__ import annotations

import typer


def bench(context: typer.Context) -> int:
    """Measure rates, latencies and memory beside plain Faust and raw clients."""
    from modelmora.bench.run import main

    return main(context.args)
