"""Texts to tokens, no longer than the model takes, and tokens to padded batches."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modelmora.engines.base import Row
from modelmora.engines.files import broken
from modelmora.text import counted

Text = str | tuple[str, str]
"""One text, or a pair that the model reads as one."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one text or pair; `types` tells apart the texts of a pair."""

    ids: Sequence[int]
    types: Sequence[int] | None = None


class Tokenizer:
    """The tokenizer of one model.

    `hub` is the library's, `model` the weights, `longest` what the files allow beside the model's
    own places. Raises LoadError where it is none of this model's.
    """

    def __init__(
        self, hub: Any, model: Any, longest: int | None = None, *, lower_case: bool = False
    ) -> None:
        if not hub.is_fast:
            raise broken("the model has no fast tokenizer")
        self._tokenizer = hub.backend_tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if lower_case:
            _lower(self._tokenizer)
        self._pad = hub.pad_token_id if hub.pad_token_id is not None else 0
        self._pad_left = hub.padding_side == "left"
        self._cut_side = hub.truncation_side
        self._pad_type = hub.pad_token_type_id
        self._typed = "token_type_ids" in hub.model_input_names
        self.most = min(longest or int(hub.model_max_length), _positions(model))
        """Tokens that the model takes at once."""
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if self.most <= special:
            raise broken(f"the model takes {counted(self.most, 'token')}, which holds no text")
        self._vocabulary = model.get_input_embeddings().num_embeddings
        if self._tokenizer.get_vocab_size(with_added_tokens=False) > self._vocabulary:
            raise broken("the tokenizer is that of another model: the weights have fewer tokens")
        self._strays = self._tokenizer.get_vocab_size() > self._vocabulary

    def read(self, texts: Sequence[Text], *, truncate: bool) -> list[Tokens]:
        """The tokens of each text; of those that are too long the first ones, if they may be cut.

        Of a pair, the longer text is cut first.
        """
        if not texts:
            return []
        read = self._tokenizer.encode_batch_fast(list(texts))
        if truncate and (over := [i for i, each in enumerate(read) if len(each) > self.most]):
            self._tokenizer.enable_truncation(self.most, direction=self._cut_side)
            try:
                for i in over:
                    text = texts[i]
                    read[i] = self._tokenizer.encode(*((text,) if isinstance(text, str) else text))
            finally:
                self._tokenizer.no_truncation()
        return [self._tokens(each, text) for each, text in zip(read, texts, strict=True)]

    def _tokens(self, encoding: Any, text: Text) -> Tokens:
        paired = self._typed and not isinstance(text, str)
        return Tokens(encoding.ids, encoding.type_ids if paired else None)

    def fault(self, tokens: Tokens) -> str | None:
        """Why a text with these tokens cannot be computed."""
        if len(tokens.ids) > self.most:
            return (
                f"has {counted(len(tokens.ids), 'token')} and the model takes {self.most}; "
                "shorten it or send `truncate: true`"
            )
        if not tokens.ids:
            return "is empty for this model, which makes no token of it"
        if self._strays and max(tokens.ids) >= self._vocabulary:
            return "has a token that the model has no vector for"
        return None

    def batch(self, rows: Sequence[Row], device: Any) -> dict[str, Any]:
        """The inputs of the model, each [rows, longest row], of rows whose data are Tokens."""
        width = max(row.cost for row in rows)
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        types = np.full((len(rows), width), self._pad_type, dtype=np.int64)
        typed = False
        for i, row in enumerate(rows):
            place = slice(width - row.cost, None) if self._pad_left else slice(None, row.cost)
            ids[i, place] = row.data.ids
            mask[i, place] = 1
            if row.data.types is not None:
                types[i, place], typed = row.data.types, True
        arrays = {"input_ids": ids, "attention_mask": mask} | (
            {"token_type_ids": types} if typed else {}
        )
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _lower(tokenizer: Any) -> None:
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as Normalizers

    own = tokenizer.normalizer
    tokenizer.normalizer = Normalizers([Lowercase(), *([own] if own else [])])


def _positions(model: Any) -> int:
    """How many tokens the model has places for.

    A table of positions with a padding index counts from behind it: RoBERTa and its relatives
    have `max_position_embeddings` 514 and take 512 tokens.
    """
    tables = [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for name, table in model.named_modules()
        if isinstance(table, torch.nn.Embedding) and name.endswith("position_embeddings")
    ]
    told = getattr(model.config, "max_position_embeddings", None)
    return min(tables, default=told if told and told > 0 else sys.maxsize)
