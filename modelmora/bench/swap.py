"""How often models are loaded when many share little memory: the scheduler rehearsed by itself."""

from __future__ import annotations

import random
from collections.abc import Sequence

from modelmora.bench.report import Figure, at_most
from modelmora.scheduling import Policy
from modelmora.simulate import (
    Asked,
    Cost,
    Played,
    Simulation,
    Trace,
    belady,
    first_in_first_out,
    in_turn,
)

MODELS, PLACES, REQUESTS, LOOK_AHEAD = 25, 5, 1000, 200
TASKS = ("txt2embed", "txt2txt", "classify", "rerank", "txt2img")
SIZE = 100 << 20
LOAD_S, RUN_S = 1.0, 0.01
SIZES = {f"m{number}": SIZE for number in range(MODELS)}
ROOM = PLACES * SIZE


def shuffled(requests: int = REQUESTS, models: int = MODELS, seed: int = 1) -> list[str]:
    """Requests for each model alike, in any order; each is the name of its model."""
    stream = [f"m{number % models}" for number in range(requests)]
    random.Random(seed).shuffle(stream)
    return stream


def rehearsed(
    stream: Sequence[str], look_ahead: int = LOOK_AHEAD, room: int = ROOM, ageing_s: float = 120.0
) -> Played:
    """The stream through the real scheduler, `look_ahead` requests open at any time."""
    cost = Cost(load_s=LOAD_S, bytes=SIZE, unit_s=RUN_S)
    trace = Trace(dict.fromkeys(SIZES, cost), [Asked(0.0, model) for model in stream])
    policy = Policy(budget_bytes=room, ageing_s=ageing_s)
    return Simulation(trace, policy, most_open=look_ahead).play()


def swaps() -> list[Figure]:
    """Loads of 25 models that share room for 5, beside those of one who knows the future."""
    stream = shuffled()
    ours = len(rehearsed(stream).loads)
    best = belady(stream, SIZES, ROOM, LOOK_AHEAD)
    beside = {
        "loads": float(ours),
        "belady in turn": float(in_turn(stream, SIZES, ROOM)),
        "fifo in turn": float(first_in_first_out(stream, SIZES, ROOM)),
    }
    for ahead in (50, 100, REQUESTS):
        loads = len(rehearsed(stream, ahead).loads)
        beside[f"vs belady, {ahead} ahead"] = loads / belady(stream, SIZES, ROOM, ahead)
    return [Figure("swap.loads_vs_belady", ours / best, "ratio", at_most(1.3), best, beside)]
