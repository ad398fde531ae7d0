"""Whether the simulator says what a node does: waits on the same traffic, of both."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import yaml

from modelmora.bench.report import Figure, at_most
from modelmora.bench.stage import Stage, fixed, requests_of, serving
from modelmora.diagnostics.recording import seen
from modelmora.messages import Status
from modelmora.node.policy import policy_of
from modelmora.settings import CONFIG_VARIABLE, load_settings
from modelmora.simulate.record import Outcome, record
from modelmora.simulate.report import Waits, outlook

SEEDS = (1, 2, 3)
SHARES = {"fixed-a": 0.6, "fixed-b": 0.3, "fixed-c": 0.1}
"""How often each is asked for; memory holds two of them."""
RATE, SECONDS = 25.0, 60.0
MS, LOAD_S, MB, BUDGET_MB = 20, 1.0, 64, 200


def simulated(scale: float) -> list[Figure]:
    """How far the simulator's mean and 95th percentile are off: the worst of all seeds."""
    off: dict[str, list[float]] = {"mean": [], "p95": []}
    beside: dict[str, float] = {}
    for seed in SEEDS:
        real, ours = _both(seed, SECONDS * scale)
        for name, found in off.items():
            node, simulator = getattr(real, name), getattr(ours, name)
            found.append(abs(simulator - node) / node)
            beside |= {f"seed {seed} {name} s": node, f"simulated {seed} {name}": simulator}
    told = {f"{name} off, on average": fmean(found) for name, found in off.items()}
    worst = max(*off["mean"], *off["p95"])
    return [Figure("simulate.error", worst, "ratio", at_most(0.1), None, told | beside)]


def _both(seed: int, seconds: float) -> tuple[Waits, Waits]:
    """The waits of a node that was started for this, and of the simulation of what it was asked."""
    with tempfile.TemporaryDirectory(prefix="modelmora-bench-") as name:
        folder = Path(name)
        config = folder / "modelmora.yaml"
        config.write_text(yaml.safe_dump(_config()))
        with serving(folder, variables={CONFIG_VARIABLE: str(config)}) as stage:
            began_ms = time.time_ns() // 1_000_000 - 60_000
            _ask(stage, _arrivals(seed, max(seconds, 2.0)))
            settings = load_settings(config, bootstrap_servers=stage.bootstrap_servers)
            found = seen(settings, (began_ms, began_ms + 3_600_000), lambda _line: None)
    made = record(*found)
    policy = policy_of(settings)
    return _waits(found.outcomes), outlook(made.trace, policy, policy.budget_bytes).waits


def _config() -> dict[str, object]:
    options = {"ms": MS, "load_s": LOAD_S, "mb": MB}
    models = [fixed(name, options, needs={"memory_mb": MB + 16}) for name in SHARES]
    return {"models": models, "memory": {"budget_bytes": BUDGET_MB << 20}}


def _arrivals(seed: int, seconds: float) -> list[tuple[float, str]]:
    """When which model is asked for: by chance (Poisson)."""
    chance = random.Random(seed)
    found: list[tuple[float, str]] = []
    at = 0.0
    while (at := at + chance.expovariate(RATE)) < seconds:
        found.append((at, chance.choices([*SHARES], [*SHARES.values()])[0]))
    return found


def _ask(stage: Stage, arrivals: Sequence[tuple[float, str]]) -> None:
    """Write each request at its time, and wait for all outcomes."""
    tail = stage.tail("modelmora.results")
    began = time.monotonic()
    for at, model in arrivals:
        time.sleep(max(0.0, began + at - time.monotonic()))
        stage.send_one(requests_of(model, ["x"])[0])
    tail.take(len(arrivals))
    tail.close()


def _waits(outcomes: Sequence[Outcome]) -> Waits:
    """Those that the node tells."""
    waits = [
        (each.timings.queue_ms + each.timings.load_ms) / 1000
        for each in outcomes
        if each.status is Status.COMPLETED
    ]
    return Waits.of(waits, [None] * len(waits))
