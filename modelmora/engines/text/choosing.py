"""Chooses the next token of each row from the model's logits, each by its own settings and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from modelmora.engines.text.asking import Sampling

_OFTEN_ENOUGH = 1024
"""The likeliest tokens, which nearly always hold the share that `top_p` asks for."""


@dataclass(slots=True, eq=False)
class Row:
    """One request as the batch computes it: the tokens of its prompt and of its answer so far."""

    key: int
    prompt: Sequence[int]
    how: Sampling
    answer: list[int] = field(default_factory=list)
    generator: Any = None
    logprobs: list[tuple[int, float, list[tuple[int, float]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.how.seed)


def choose(logits: Any, rows: Sequence[Row]) -> list[int | None]:
    """A token for each row of logits [rows, vocabulary]; None where a logit is no number."""
    logits = logits.to(torch.float32).cpu()
    likeliest = logits.max(dim=-1)
    sound = torch.isfinite(likeliest.values).tolist()
    greedy = likeliest.indices.tolist()
    return [_choose(logits[i], row, greedy[i]) if sound[i] else None for i, row in enumerate(rows)]


def _choose(logits: Any, row: Row, likeliest: int) -> int:
    how = row.how
    scores = _penalised(logits, row)
    if how.greedy:
        token = likeliest if scores is logits else int(scores.argmax())
    else:
        token = _draw(scores / how.temperature, how, row.generator)
    if how.logprobs is not None:
        all_of_them = torch.log_softmax(logits, dim=-1)
        top = torch.topk(all_of_them, min(how.logprobs, len(logits)))
        others = list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        row.logprobs.append((token, float(all_of_them[token]), others))
    return token


def _penalised(logits: Any, row: Row) -> Any:
    """Repeated tokens made less likely.

    `repeat_penalty` is CTRL's (arXiv 1909.05858, section 4.1), over prompt and answer; the others
    are subtracted for tokens of the answer: once, and as often as they occur.
    """
    how = row.how
    if how.repeat_penalty != 1:
        seen = torch.tensor([*{*row.prompt, *row.answer}])
        values = logits[seen]
        values = torch.where(values < 0, values * how.repeat_penalty, values / how.repeat_penalty)
        logits = logits.index_copy(0, seen, values)
    if row.answer and (how.presence_penalty or how.frequency_penalty):
        seen, counts = torch.unique(torch.tensor(row.answer), return_counts=True)
        less = how.presence_penalty + how.frequency_penalty * counts
        logits = logits.index_add(0, seen, -less.to(torch.float32))
    return logits


def _draw(scores: Any, how: Sampling, generator: Any) -> int:
    """One token by chance, from those that top_k, top_p and min_p leave, in this order."""
    if how.top_k:
        scores, tokens = torch.topk(scores, min(how.top_k, len(scores)))
        shares = torch.softmax(scores, dim=-1)
    elif how.top_p < 1:
        shares, tokens = _nucleus(torch.softmax(scores, dim=-1), how.top_p)
    else:
        shares, tokens = torch.softmax(scores, dim=-1), None
    if how.top_p < 1:
        shares = torch.where(shares.cumsum(0) - shares < how.top_p, shares, 0.0)
        shares[0] = max(float(shares[0]), 1e-9)
    if how.min_p:
        shares = torch.where(shares >= how.min_p * shares.max(), shares, 0.0)
    place = int(torch.multinomial(shares, 1, generator=generator))
    return place if tokens is None else int(tokens[place])


def _nucleus(shares: Any, top_p: float) -> tuple[Any, Any]:
    """The likeliest tokens in their order, enough of them to hold `top_p`."""
    few = torch.topk(shares, min(_OFTEN_ENOUGH, len(shares)))
    if float(few.values.sum()) >= top_p:
        return few.values, few.indices
    every = shares.sort(descending=True)
    return every.values, every.indices
