"""What 64 callers get over REST: echoes beside MLServer's, vectors beside the model alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

from modelmora.bench.beside.ceiling import FIXED_TEXTS
from modelmora.bench.beside.peers import mlserver
from modelmora.bench.callers import rate
from modelmora.bench.cpu import parts, spent
from modelmora.bench.embedding import MODEL, alone, ceiling
from modelmora.bench.rate import warm
from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import Stage
from modelmora.bench.text import in_turns, ratio

CALLERS = 64
ECHOES = 3_000
ROUNDS = 5
TEXT = "x" * 200
ECHO_S, OF_MLSERVER = 1_500, 0.8
EMBED_ROUNDS = 3
Asks = Mapping[str, Callable[[], float]]


def rest(stage: Stage) -> list[Figure]:
    """Whoever is measured takes turns with what is measured beside; each is idle meanwhile."""
    return [*_echoes(stage), _vectors(stage)]


def _echoes(stage: Stage) -> list[Figure]:
    """Echoes a second, and what each costs; MLServer where its environment is there.

    `door` is our door alone, before a hall that has its answer.
    """
    count, costs = stage.scaled(ECHOES, CALLERS), dict[str, list[float]]()
    warm(stage)
    processes = {**parts(stage), "gateway": [stage.pid("gateway")]}

    def ours() -> float:
        with spent(processes) as cpu_s:
            found = _rate(str(stage.run.http), "/infer/echo", [TEXT] * count)
        for name, seconds in cpu_s.items():
            costs.setdefault(name, []).append(seconds / count * 1e6)
        return found

    with ExitStack() as stack:
        door = stack.enter_context(alone("modelmora.bench.beside.door", "rest", str(len(TEXT))))
        at = f"http://127.0.0.1:{door('')['port']}"
        asks: dict[str, Callable[[], float]] = {
            "modelmora": ours,
            "door": partial(_rate, at, "/infer/echo", [TEXT] * count),
        }
        if peer := stack.enter_context(mlserver(stage.folder)):
            bodies = [_tensor(TEXT)] * count
            asks["mlserver"] = partial(rate, peer, "/v2/models/echo/infer", bodies, CALLERS)
        for each in asks.values():
            each()
        costs.clear()
        seen = in_turns(asks, stage.scaled(ROUNDS))
    rates = {name: median(found) for name, found in seen.items()}
    beside = rates.get("mlserver")
    goal = ECHO_S if beside is None else min(ECHO_S, OF_MLSERVER * beside)
    return [
        Figure("rest.rate_64", rates["modelmora"], "/s", at_least(goal), beside, rates),
        *(Figure(f"rest.cpu_us.{name}", median(us), "us") for name, us in costs.items()),
    ]


def _vectors(stage: Stage) -> Figure:
    """One text a call, and the same texts in batches of 32 to the model alone, on all cores."""
    with ceiling() as ask:
        texts = ask(f"texts {stage.scaled(FIXED_TEXTS, CALLERS)} 1")["fixed"]
        asks: Asks = {
            "served": partial(_rate, str(stage.run.http), f"/infer/{MODEL}", texts),
            "alone": partial(ask, "fixed"),
        }
        for each in asks.values():
            each()
        seen = in_turns(asks, stage.scaled(EMBED_ROUNDS))
    rates = {f"{name} /s": median(found) for name, found in seen.items()}
    value = ratio(seen["served"], seen["alone"])
    return Figure("rest.embed_64_vs_ceiling", value, "ratio", at_least(0.85), None, rates)


def _rate(at: str, path: str, texts: Sequence[str]) -> float:
    return rate(at, path, [{"inputs": [text]} for text in texts], CALLERS)


def _tensor(text: str) -> dict[str, Any]:
    """The text as the Open Inference Protocol has it."""
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
