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
from modelmora.bench.stage import Stage, requests_of, serving
from modelmora.diagnostics.recording import seen
from modelmora.messages import Status
from modelmora.node.policy import policy_of
from modelmora.settings import CONFIG_VARIABLE, Settings, load_settings
from modelmora.simulate.record import Outcome, record
from modelmora.simulate.report import Waits, outlook

SEEDS = (1, 2, 3)
SHARES = {"fixed-a": 0.6, "fixed-b": 0.3, "fixed-c": 0.1}
"""How often each is asked for; memory holds two of them."""
RATE, SECONDS = 25.0, 60.0
MS, LOAD_S, MB, BUDGET_MB = 20, 1.0, 64, 200


def simulated(scale: float) -> list[Figure]:
    """How far mean and 95th percentile of the waits are off, on average over the seeds."""
    means: list[float] = []
    tails: list[float] = []
    beside: dict[str, float] = {}
    for seed in SEEDS:
        real, ours, loads = _both(seed, SECONDS * scale)
        means.append(_off(ours.mean, real.mean))
        tails.append(_off(ours.p95, real.p95))
        beside |= {
            f"{seed}: mean s": real.mean or 0.0,
            f"{seed}: simulated": ours.mean or 0.0,
            f"{seed}: p95 s": real.p95 or 0.0,
            f"{seed}: p95 simulated": ours.p95 or 0.0,
            f"{seed}: loads simulated": float(loads),
        }
    worst = max(fmean(means), fmean(tails))
    beside = {"mean off": fmean(means), "p95 off": fmean(tails), **beside}
    return [Figure("simulate.error", worst, "ratio", at_most(0.1), None, beside)]


def _off(ours: float | None, real: float | None) -> float:
    return abs((ours or 0.0) - (real or 0.0)) / (real or 1.0)


def _both(seed: int, seconds: float) -> tuple[Waits, Waits, int]:
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
    ours = outlook(made.trace, policy_of(settings), budget_of(settings))
    return _waits(found.outcomes), ours.waits, ours.loads


def budget_of(settings: Settings) -> int:
    """Bytes of memory for models."""
    return settings.memory.budget_bytes or 0


def _config() -> dict[str, object]:
    models = [
        {
            "name": name,
            "task": "sleep",
            "source": "builtin:sleep",
            "engine": "modelmora.testing.engines:Fixed",
            "options": {"ms": MS, "load_s": LOAD_S, "mb": MB},
            "needs": {"memory_mb": MB + 16},
            "warm_up": False,
        }
        for name in SHARES
    ]
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
