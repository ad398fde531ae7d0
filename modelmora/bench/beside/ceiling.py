"""The model alone, in a process of its own: what this machine could do without a server.

Reads one command a line and prints one JSON line: first `texts FIXED MIXED` (how many), then
`fixed`, `arrival`, `single` or `sorted`. Rates are sentences a second with so many threads.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

FIXED_TEXTS = 384
FIXED_TOKENS = 40
MIXED_TEXTS = 384
SHORTEST, LONGEST = 8, 256
BATCH = 32
WINDOW = 128
BUDGET = 1024


def texts_of(words: list[str], lengths: Iterable[int], seed: int) -> list[str]:
    """Texts of as many tokens, two of which are the model's own marks."""
    chosen = random.Random(seed)
    return [" ".join(chosen.choice(words) for _ in range(length - 2)) for length in lengths]


def arrival(lengths: list[int]) -> Iterator[list[int]]:
    """Batches of 32 as they come: what servers with a count limit do."""
    for start in range(0, len(lengths), BATCH):
        yield list(range(start, min(start + BATCH, len(lengths))))


def single(lengths: list[int]) -> Iterator[list[int]]:
    """One by one."""
    for index in range(len(lengths)):
        yield [index]


def sorted_budget(lengths: list[int]) -> Iterator[list[int]]:
    """Windows of 128, sorted, in batches of at most 1,024 padded tokens: the best offline rule."""
    for start in range(0, len(lengths), WINDOW):
        window = range(start, min(start + WINDOW, len(lengths)))
        batch: list[int] = []
        for index in sorted(window, key=lambda i: lengths[i]):
            if batch and lengths[index] * (len(batch) + 1) > BUDGET:
                yield batch
                batch = []
            batch.append(index)
        yield batch


RULES = {"arrival": arrival, "single": single, "sorted": sorted_budget}


class Ceiling:
    """The tokenizer and the model, read from the model's folder."""

    def __init__(self, folder: str, threads: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(threads)
        self._torch = torch
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModel.from_pretrained(folder).eval()
        self._words = sorted(
            word
            for word in self._tokenizer.get_vocab()
            if word.isascii() and word.isalpha() and word.islower() and len(word) > 2
        )
        self.fixed: list[str] = []
        self.mixed: list[str] = []

    def choose_texts(self, fixed: int, mixed: int) -> None:
        """So many of equal length, and so many of 8 to 256 tokens, log-uniform."""
        chosen = random.Random(7)
        ratio = LONGEST / SHORTEST
        lengths = [round(SHORTEST * ratio ** chosen.random()) for _ in range(mixed)]
        self.fixed = texts_of(self._words, [FIXED_TOKENS] * fixed, 1)
        self.mixed = texts_of(self._words, lengths, 2)

    def rate(self, texts: list[str], rule: str) -> float:
        """Sentences a second, tokenizing and pooling included."""
        began = time.perf_counter()
        lengths = [len(ids) for ids in self._tokenizer(texts)["input_ids"]]
        with self._torch.inference_mode():
            for batch in RULES[rule](lengths):
                rows = self._tokenizer([texts[i] for i in batch], padding=True, return_tensors="pt")
                states = self._model(**rows).last_hidden_state
                mask = rows["attention_mask"].unsqueeze(-1)
                self._torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
        return len(texts) / (time.perf_counter() - began)


def main() -> None:
    """Answer commands until the input ends."""
    ceiling = Ceiling(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        command, *counts = line.split()
        answer: Any
        if command == "texts":
            ceiling.choose_texts(*map(int, counts))
            answer = {"fixed": ceiling.fixed, "mixed": ceiling.mixed}
        elif command == "fixed":
            answer = ceiling.rate(ceiling.fixed, "arrival")
        else:
            answer = ceiling.rate(ceiling.mixed, command)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
