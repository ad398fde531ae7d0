"""What a swap costs beside the load alone, and the memory that comes back."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from modelmora.bench.embedding import MODEL
from modelmora.bench.report import Figure, at_least, at_most
from modelmora.bench.stage import Stage, requests_of
from modelmora.errors import ModelMoraError
from modelmora.messages import ControlVerb
from modelmora.resources import summed_pss

SWAPS = 5
CYCLES = 50
WARM_UP_CYCLES = 10
MB = 1e6


def base_memory(stage: Stage) -> list[Figure]:
    """Proportional memory of all processes but the broker, before any model is loaded."""
    parts = {name: stage.pid(name) for name in ("node", "gateway", "zygote")}
    pids = {**parts, "supervisor": int(stage.run.pid)}
    beside = {f"{name} MB": summed_pss([pid]) / MB for name, pid in pids.items()}
    mb = summed_pss(pids.values()) / MB
    return [Figure("base.pss_mb", mb, "MB", at_most(900), beside=beside)]


def swap(stage: Stage) -> list[Figure]:
    """Unloading a model, loading one in its place and its first answer, beside the load alone."""
    swaps, loads = [], []
    results = stage.tail("modelmora.results")
    for turn in range(1 + stage.scaled(SWAPS, 2)):
        events = stage.tail("modelmora.events")
        began = time.time()
        if turn:
            _unload(stage)
        stage.send(requests_of(MODEL, ["hello"]))
        results.take(1)
        took_s = time.time() - began
        if turn:
            load_s = float(str(events.event("loaded", MODEL).facts["load_ms"])) / 1e3
            swaps.append(took_s)
            loads.append(load_s)
        events.close()
    results.close()
    figure = Figure(
        "swap.seconds_vs_load",
        median(took / load for took, load in zip(swaps, loads, strict=True)),
        "ratio",
        at_most(2),
        median(loads),
        {"swap s": median(swaps), "load s": median(loads)},
    )
    return [figure]


def unloads(stage: Stage) -> list[Figure]:
    """Growth of node and zygote over load and unload cycles, and the memory given back."""
    shares: list[float] = []
    held: list[int] = []
    pids = [stage.pid("node"), stage.pid("zygote")]
    _unload(stage)
    cycles = stage.scaled(CYCLES, 3)
    for _ in range(cycles):
        tail = stage.tail("modelmora.events")
        stage.command(ControlVerb.LOAD, MODEL)
        tail.event("loaded", MODEL)
        facts = _unload(stage)
        if facts["returned_share"] is not None:  # others grew meanwhile
            shares.append(float(facts["returned_share"]))
        held.append(sum(map(_anonymous, pids)))
        tail.close()
    after_warm_up = held[min(WARM_UP_CYCLES, cycles - 2) :]
    growth = (after_warm_up[-1] - after_warm_up[0]) / (len(after_warm_up) - 1) / MB
    return [
        Figure(
            "unload.growth_mb_per_cycle",
            growth,
            "MB",
            at_most(0.1),
            beside={"cycles": cycles, "held MB": held[-1] / MB},
        ),
        Figure(
            "unload.returned_share",
            median(shares),
            "ratio",
            at_least(0.99),
            beside={"least": min(shares), "measured": len(shares)},
        ),
    ]


def _anonymous(pid: int) -> int:
    """Resident anonymous bytes: what a leak would add to, whoever else maps the same files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise ModelMoraError(f"process {pid} has no RssAnon; this needs Linux")


def _unload(stage: Stage) -> dict[str, Any]:
    """Unload the model if it is loaded; the proof that the event carries."""
    tail = stage.tail("modelmora.events")
    stage.command(ControlVerb.LOAD, MODEL)
    stage.command(ControlVerb.UNLOAD, MODEL)
    facts = dict(tail.event("unloaded", MODEL).facts)
    tail.close()
    return facts
