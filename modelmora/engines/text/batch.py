"""Rows of one causal model over one cache: they join, advance by a token, and leave."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from modelmora.engines.text.choosing import Row, choose

CHUNK = 256
"""Tokens of a prompt that are computed between two steps of the rows that already run."""
TOGETHER = 1024
"""Padded tokens of prompts that are computed in one go."""

Chosen = list[tuple[Row, int | None]]


@dataclass(slots=True)
class _Joining:
    """Prompts whose cache is not complete yet, padded on the left to one width."""

    rows: list[Row]
    ids: Any
    pads: list[int]
    cache: Any
    done: int = 0


class Batch:
    """The rows that are computed together; all but the cache is small."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.device
        self._rows: list[Row] = []
        self._cache: Any = None
        self._pads: list[int] = []
        self._length = 0
        self._last: list[int] = []
        self._joining: _Joining | None = None

    @property
    def joining(self) -> bool:
        """Whether prompts are being computed; meanwhile no others may join."""
        return self._joining is not None

    def join(self, waiting: Sequence[Row]) -> int:
        """Begin with the first of these rows; how many were taken: one long prompt, or some."""
        taken = [waiting[0]]
        width = len(waiting[0].prompt)
        for row in waiting[1:]:
            wider = max(width, len(row.prompt))
            if wider > CHUNK or wider * (len(taken) + 1) > TOGETHER:
                break
            taken.append(row)
            width = wider
        pads = [width - len(row.prompt) for row in taken]
        ids = [[0] * pad + [*row.prompt] for pad, row in zip(pads, taken, strict=True)]
        self._joining = _Joining(taken, torch.tensor(ids, device=self._device), pads, None)
        return len(taken)

    @torch.inference_mode()
    def step(self) -> Chosen:
        """The next token of every row that has one; None where the model computed none."""
        chosen = self._decode() if self._rows else []
        if self._joining:
            chosen += self._prefill(self._joining)
        return chosen

    def drop(self, gone: Collection[Row]) -> None:
        """Let these rows go."""
        if self._joining and any(row in gone for row in self._joining.rows):
            rest = [row for row in self._joining.rows if row not in gone]
            self._joining = None
            if rest:
                self.join(rest)
        keep = [i for i, row in enumerate(self._rows) if row not in gone]
        if len(keep) == len(self._rows):
            return
        if not keep:
            self._rows, self._cache, self._pads, self._length, self._last = [], None, [], 0, []
            return
        cut = min(self._pads[i] for i in keep)
        places = torch.tensor(keep, device=self._device)
        for layer in self._cache.layers:
            layer.keys = layer.keys.index_select(0, places)[:, :, cut:]
            layer.values = layer.values.index_select(0, places)[:, :, cut:]
        self._rows = [self._rows[i] for i in keep]
        self._pads = [self._pads[i] - cut for i in keep]
        self._last = [self._last[i] for i in keep]
        self._length -= cut

    def _decode(self) -> Chosen:
        logits = self._forward(
            torch.tensor(self._last, device=self._device)[:, None],
            self._cache,
            self._pads,
            self._length,
        )
        self._length += 1
        chosen = list(zip(self._rows, choose(logits, self._rows), strict=True))
        self._last = [token or 0 for _, token in chosen]
        return chosen

    def _prefill(self, joining: _Joining) -> Chosen:
        """One chunk of the prompts; their first tokens once they are complete."""
        if joining.cache is None:
            joining.cache = DynamicCache()
        chunk = joining.ids[:, joining.done : joining.done + CHUNK]
        logits = self._forward(chunk, joining.cache, joining.pads, joining.done)
        joining.done += chunk.shape[1]
        if joining.done < joining.ids.shape[1]:
            return []
        self._joining = None
        chosen = list(zip(joining.rows, choose(logits, joining.rows), strict=True))
        self._merge(joining, [token or 0 for _, token in chosen])
        return chosen

    def _merge(self, joining: _Joining, last: list[int]) -> None:
        """Put the newcomers' cache below that of the others, both as long as the longer one."""
        if not self._rows:
            self._cache, self._length, self._pads = joining.cache, joining.done, joining.pads
        else:
            length = max(self._length, joining.done)
            ours, theirs = length - self._length, length - joining.done
            for mine, new in zip(self._cache.layers, joining.cache.layers, strict=True):
                mine.keys = torch.cat([_padded(mine.keys, ours), _padded(new.keys, theirs)])
                mine.values = torch.cat([_padded(mine.values, ours), _padded(new.values, theirs)])
            self._pads = [pad + ours for pad in self._pads] + [pad + theirs for pad in joining.pads]
            self._length = length
        self._rows = self._rows + joining.rows
        self._last = self._last + last

    def _forward(self, ids: Any, cache: Any, pads: Sequence[int], before: int) -> Any:
        """Logits [rows, vocabulary] of the last of these tokens; `before` are in the cache."""
        after = before + ids.shape[1]
        pad = torch.tensor(pads, device=self._device)[:, None]
        places = torch.arange(before, after, device=self._device)[None]
        mask = None
        if any(pads):
            mask = (torch.arange(after, device=self._device)[None] >= pad).long()
        answer = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(places - pad).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return answer.logits[:, -1]


def _padded(states: Any, count: int) -> Any:
    return torch.nn.functional.pad(states, (0, 0, count, 0)) if count else states
