"""The engine of `txt2embed`: texts to one FP32 tensor, as Sentence Transformers would compute it.

Imported in a child only; torch and transformers are loaded with it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from modelmora.engines.base import Engine, LoadError, Plan, Row, texts_of
from modelmora.engines.packing import BUDGETS, START, Budget, pack
from modelmora.engines.sentence import SentenceModel, read_sentence_model
from modelmora.errors import Code, RequestError
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor

OUTPUT_NAME = "embedding"
# A device with its own memory is idle at sizes that fill a CPU; learning starts higher there.
DEVICE_BUDGETS, DEVICE_START = (4096, 16384, 65536), 16384


class Embedding(Engine):
    """One sentence-embedding model.

    Options: `device` (torch's name; default: the first GPU if there is one, else the CPU) and
    `token_budget` (padded tokens per batch to start from).
    """

    _model: Any
    _tokenizer: Any
    _files: SentenceModel
    _budget: Budget

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read weights and tokenizer; facts: dimension, max_tokens, device. Raises LoadError."""
        self._files = read_sentence_model(path)
        device = str(options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._device = torch.device(device)
        folder = str(self._files.transformer)
        safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        hub = AutoTokenizer.from_pretrained(folder, **safe)
        if not hub.is_fast:
            raise LoadError(Code.CANNOT_BE_SERVED, "the model has no fast tokenizer")
        model = AutoModel.from_pretrained(folder, use_safetensors=True, **safe)
        self._model = model.eval().to(self._device)
        self._read_tokenizer(hub)
        budgets, start = (BUDGETS, START) if device == "cpu" else (DEVICE_BUDGETS, DEVICE_START)
        self._budget = Budget(int(options.get("token_budget") or start), budgets)
        self._dimension = self._model.config.hidden_size * len(self._files.pooling)
        return {
            "dimension": self._dimension,
            "max_tokens": self._max_tokens,
            "device": device,
        }

    def use_threads(self, count: int) -> None:
        """Compute with this many CPU threads."""
        if count > 0 and torch.get_num_threads() != count:
            torch.set_num_threads(count)

    def plan(
        self,
        requests: Sequence[tuple[int, InferenceRequest]],
        parameters: Mapping[str, Parameter],
    ) -> Plan:
        """Tokenise all texts, sort them by length and pack them; each text is a row."""
        plan, places, texts = Plan(), [], []
        for index, request in requests:
            try:
                own = texts_of(request)
            except RequestError as error:
                plan.refused.append((index, error))
                continue
            places += [(index, part) for part in range(len(own))]
            texts += [self._files.prompt + text for text in own] if self._files.prompt else own
        encodings = self._tokenizer.encode_batch_fast(texts) if texts else []
        tokens = [encoding.ids for encoding in encodings]
        if truncated := self._over_long(tokens):
            self._shorten(truncated, bool(parameters.get("truncate")), texts, tokens, places, plan)
        refused = {index for index, _ in plan.refused}
        rows = [
            Row(index, part, ids, len(ids))
            for (index, part), ids in zip(places, tokens, strict=True)
            if index not in refused
        ]
        batches = pack([row.cost for row in rows], self._budget.current)
        plan.batches = [[rows[i] for i in batch] for batch in batches]
        return plan

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """One vector per text."""
        started = time.perf_counter()
        width = max(row.cost for row in rows)
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for i, row in enumerate(rows):
            place = slice(width - row.cost, None) if self._pad_left else slice(None, row.cost)
            ids[i, place] = row.data
            mask[i, place] = 1
        with torch.inference_mode():
            inputs = {
                "input_ids": torch.from_numpy(ids).to(self._device),
                "attention_mask": torch.from_numpy(mask).to(self._device),
            }
            hidden = self._model(**inputs).last_hidden_state
            vectors = pool(hidden, inputs["attention_mask"], self._files.pooling)
            if self._files.normalize:
                vectors = torch.nn.functional.normalize(vectors, p=2, dim=1)
            answer = vectors.to(torch.float32).cpu().numpy()
        tokens = sum(row.cost for row in rows)
        self._budget.observe(tokens, width * len(rows), time.perf_counter() - started)
        return list(answer)

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """One tensor [n, dimension]."""
        data = np.ascontiguousarray(parts, dtype="<f4").tobytes()
        return (Tensor(OUTPUT_NAME, "FP32", (len(parts), self._dimension), data),)

    def _read_tokenizer(self, hub: Any) -> None:
        from tokenizers.normalizers import Lowercase
        from tokenizers.normalizers import Sequence as Normalizers

        self._tokenizer = hub.backend_tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if self._files.lower_case:
            own = self._tokenizer.normalizer
            self._tokenizer.normalizer = Normalizers([Lowercase(), *([own] if own else [])])
        self._pad = hub.pad_token_id if hub.pad_token_id is not None else 0
        self._pad_left = hub.padding_side == "left"
        positions = getattr(self._model.config, "max_position_embeddings", -1)
        longest = hub.model_max_length if positions == -1 else min(hub.model_max_length, positions)
        self._max_tokens = int(self._files.max_tokens or longest)

    def _over_long(self, tokens: Sequence[Sequence[int]]) -> list[int]:
        return [i for i, ids in enumerate(tokens) if len(ids) > self._max_tokens]

    def _shorten(
        self,
        which: Sequence[int],
        truncate: bool,
        texts: Sequence[str],
        tokens: list[list[int]],
        places: Sequence[tuple[int, int]],
        plan: Plan,
    ) -> None:
        """Truncate the texts `which`, or refuse their requests."""
        if truncate:
            self._tokenizer.enable_truncation(self._max_tokens)
            try:
                for i in which:
                    tokens[i] = self._tokenizer.encode(texts[i]).ids
            finally:
                self._tokenizer.no_truncation()
            return
        for index, (i, part) in {places[i][0]: (i, places[i][1]) for i in reversed(which)}.items():
            plan.refused.append((index, _too_long(part, len(tokens[i]), self._max_tokens)))


def _too_long(part: int, tokens: int, limit: int) -> RequestError:
    return RequestError(
        Code.INVALID_INPUT,
        f"input {part} has {tokens} tokens and the model takes {limit}; "
        "shorten it or send `truncate: true`",
    )


def pool(hidden: Any, mask: Any, modes: Sequence[str]) -> Any:
    """Sentence vectors [rows, dim * modes] of token vectors [rows, tokens, dim].

    The modes are those of Sentence Transformers' Pooling and are concatenated in their order.
    """
    return torch.cat([_pool_one(hidden, mask, mode) for mode in modes], dim=1)


def _pool_one(hidden: Any, mask: Any, mode: str) -> Any:
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    if mode == "cls":
        return hidden[rows, mask.argmax(dim=1)]
    if mode == "lasttoken":
        return hidden[rows, mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)]
    if mode == "max":
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).max(dim=1).values
    weights = mask.to(torch.float32)
    if mode == "weightedmean":
        weights = weights * mask.cumsum(dim=1)  # 1, 2, 3… from the first token that counts
    summed = (hidden * weights.unsqueeze(-1)).sum(dim=1)
    total = weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
    divided = summed / (total.sqrt() if mode == "mean_sqrt_len_tokens" else total)
    return divided.to(hidden.dtype)
