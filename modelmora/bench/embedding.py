"""How much of the model's own speed is left when it is served, for equal and mixed lengths."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from modelmora.bench.beside.ceiling import FIXED_TEXTS, MIXED_TEXTS
from modelmora.bench.report import Figure, at_least
from modelmora.bench.stage import Stage, appended_s, requests_of
from modelmora.errors import ModelMoraError
from modelmora.registry.definitions import MINILM, MINILM_PACKAGE
from modelmora.registry.sources.packages import Package
from modelmora.surroundings import interpreter

ROUNDS = 3
MODEL = MINILM.name
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}


def ceiling() -> contextlib.AbstractContextManager[Callable[[str], Any]]:
    """The model alone, with all cores."""
    threads = str(len(os.sched_getaffinity(0)))
    return alone(
        "modelmora.bench.beside.ceiling", str(Package(MINILM_PACKAGE).folder(None)), threads
    )


@contextlib.contextmanager
def alone(module: str, *arguments: str) -> Iterator[Callable[[str], Any]]:
    """A model in a process of its own, asked a line at a time; idle while it is not asked.

    A question raises ModelMoraError where the process has ended.
    """
    process = subprocess.Popen(
        [*interpreter(module), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **QUIET},
    )
    source, target = process.stdout, process.stdin
    assert source is not None
    assert target is not None

    def ask(command: str) -> Any:
        with contextlib.suppress(BrokenPipeError):
            target.write(command + "\n")
            target.flush()
        if line := source.readline():
            return json.loads(line)
        raise ModelMoraError(f"{module} ended while it was asked for `{command}`")

    try:
        yield ask
    finally:
        with contextlib.suppress(BrokenPipeError):
            target.close()
        try:
            process.wait(30)
        finally:
            process.kill()
            source.close()


def embeddings(stage: Stage) -> list[Figure]:
    """Sentences a second through the topics beside the model run directly, interleaved."""
    seen: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        seen.setdefault(name, []).append(value)

    with ceiling() as ask:
        texts = ask(f"texts {stage.scaled(FIXED_TEXTS, 40)} {stage.scaled(MIXED_TEXTS, 20)}")
        _served(stage, texts["fixed"][:64])
        ask("fixed")
        for _ in range(stage.scaled(ROUNDS)):
            note("ceiling", ask("fixed"))
            note("fixed", _served(stage, texts["fixed"]))
            for rule in ("sorted", "single"):
                note(rule, ask(rule))
            note("mixed", _served(stage, texts["mixed"]))
        note("arrival", ask("arrival"))
    rates = {name: median(values) for name, values in seen.items()}
    best = max(rates["sorted"], rates["single"])
    mixed = {name: rates[name] for name in ("mixed", "sorted", "single", "arrival")}
    return [
        Figure(
            "embed.fixed_vs_ceiling",
            rates["fixed"] / rates["ceiling"],
            "ratio",
            at_least(0.9),
            rates["ceiling"],
            {"served /s": rates["fixed"], "alone /s": rates["ceiling"]},
        ),
        Figure("embed.mixed_vs_best", rates["mixed"] / best, "ratio", at_least(0.9), best, mixed),
        Figure(
            "embed.mixed_vs_arrival",
            rates["mixed"] / rates["arrival"],
            "ratio",
            at_least(3),
            rates["arrival"],
            mixed,
        ),
    ]


def _served(stage: Stage, texts: Sequence[str]) -> float:
    tail = stage.tail("modelmora.results")
    began = stage.send(requests_of(MODEL, texts))
    answers = tail.take(len(texts))
    tail.close()
    return len(texts) / (max(appended_s(message) for message in answers) - began)
