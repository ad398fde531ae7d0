"""The engine of `txt2embed`: texts to one FP32 tensor, as Sentence Transformers would compute it.

Imported in a child only; torch and transformers are loaded with it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from modelmora.engines.base import Engine, LoadError, Plan, Row, is_out_of_memory, texts_of
from modelmora.engines.files import broken
from modelmora.engines.packing import BUDGETS, START, Budget, pack
from modelmora.engines.sentence import SentenceModel, read_sentence_model
from modelmora.errors import Code, RequestError
from modelmora.kafka.sizes import check_inputs, inputs_that_fit
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor
from modelmora.text import counted

OUTPUT_NAME = "embedding"
_SAFE: Mapping[str, Any] = {"trust_remote_code": False, "local_files_only": True}
_LAYER = re.compile(r"\blayers?\.\d+\.")
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
        self._model = _weights(folder).eval().to(self._device)
        with _reading("tokenizer"):
            self._read_tokenizer(AutoTokenizer.from_pretrained(folder, **_SAFE))
        budgets, start = (BUDGETS, START) if device == "cpu" else (DEVICE_BUDGETS, DEVICE_START)
        self._budget = Budget(int(options.get("token_budget") or start), budgets)
        self._dimension = self._model.config.hidden_size * len(self._files.pooling)
        self._max_inputs = inputs_that_fit(4 * self._dimension)
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
        refused: dict[int, RequestError] = {}
        places, texts = [], []
        for index, request in requests:
            try:
                own = texts_of(request)
                check_inputs(len(own), self._max_inputs)
            except RequestError as error:
                refused[index] = error
                continue
            places += [(index, part) for part in range(len(own))]
            texts += [self._files.prompt + text for text in own] if self._files.prompt else own
        tokens = self._tokens(texts, truncate=bool(parameters.get("truncate")))
        for (index, part), ids in zip(places, tokens, strict=True):
            if index not in refused and (fault := self._fault(ids)):
                refused[index] = RequestError(Code.INVALID_INPUT, f"input {part} {fault}")
        rows = [
            Row(index, part, ids, len(ids))
            for (index, part), ids in zip(places, tokens, strict=True)
            if index not in refused
        ]
        batches = pack([row.cost for row in rows], self._budget.current)
        return Plan([[rows[i] for i in batch] for batch in batches], [*refused.items()])

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
        """One tensor [n, dimension]. Raises RequestError where a number in it is none."""
        vectors = np.ascontiguousarray(parts, dtype="<f4")
        if not np.isfinite(vectors).all():
            message = "the model computed NaN or infinity; its weights may be damaged"
            raise RequestError(Code.INFERENCE_FAILED, message)
        return (Tensor(OUTPUT_NAME, "FP32", vectors.shape, vectors.tobytes()),)

    def _read_tokenizer(self, hub: Any) -> None:
        from tokenizers.normalizers import Lowercase
        from tokenizers.normalizers import Sequence as Normalizers

        if not hub.is_fast:
            raise broken("the model has no fast tokenizer")
        self._tokenizer = hub.backend_tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if self._files.lower_case:
            own = self._tokenizer.normalizer
            self._tokenizer.normalizer = Normalizers([Lowercase(), *([own] if own else [])])
        self._pad = hub.pad_token_id if hub.pad_token_id is not None else 0
        self._pad_left = hub.padding_side == "left"
        self._cut_side = hub.truncation_side
        self._max_tokens = min(
            self._files.max_tokens or int(hub.model_max_length), _positions(self._model)
        )
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if self._max_tokens <= special:
            length = counted(self._max_tokens, "token")
            raise broken(f"the model takes {length}, which holds no text")
        self._vocabulary = self._model.get_input_embeddings().num_embeddings
        if self._tokenizer.get_vocab_size(with_added_tokens=False) > self._vocabulary:
            raise broken("the tokenizer is that of another model: the weights have fewer tokens")
        self._strays = self._tokenizer.get_vocab_size() > self._vocabulary

    def _tokens(self, texts: Sequence[str], *, truncate: bool) -> list[list[int]]:
        """The ids of each text; of those that are too long the first ones, if they may be cut."""
        if not texts:
            return []
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        over_long = [i for i, ids in enumerate(tokens) if len(ids) > self._max_tokens]
        if over_long and truncate:
            self._tokenizer.enable_truncation(self._max_tokens, direction=self._cut_side)
            try:
                for i in over_long:
                    tokens[i] = self._tokenizer.encode(texts[i]).ids
            finally:
                self._tokenizer.no_truncation()
        return tokens

    def _fault(self, ids: Sequence[int]) -> str | None:
        """Why a text with these tokens cannot be computed."""
        if len(ids) > self._max_tokens:
            return (
                f"has {counted(len(ids), 'token')} and the model takes {self._max_tokens}; "
                "shorten it or send `truncate: true`"
            )
        if not ids:
            return "is empty for this model, which makes no token of it"
        if self._strays and max(ids) >= self._vocabulary:
            return "has a token that the model has no vector for"
        return None


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Whatever a library says of files that it cannot read, in our words; raises LoadError.

    What the machine lacks, memory or files it may open, says nothing of the model's files.
    """
    try:
        yield
    except (ImportError, LoadError):
        raise
    except Exception as error:
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno):
            raise
        name = type(error).__name__
        raise broken(f"its {what} cannot be read ({name}); are all files of one model?") from error


def _weights(folder: str) -> Any:
    """The transformer, all of it from its files: none of its weights are made up."""
    with _reading("weights or configuration"):
        model, told = AutoModel.from_pretrained(
            folder,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **_SAFE,
        )
    # Sentence models pool by themselves, and are saved without the pooler of their kind.
    missing = sorted(name for name in told["missing_keys"] if "pooler" not in name)
    mismatched = sorted(name for name, *_ in told["mismatched_keys"])
    layers = sorted(name for name in told["unexpected_keys"] if _LAYER.search(name))
    for names, fault in (
        (missing, "the weights lack {} that config.json asks for"),
        (mismatched, "{} of the weights have another shape than config.json says"),
        (layers, "the weights have {} of layers that config.json does not count"),
    ):
        if names:
            raise broken(f"{fault.format(counted(len(names), 'tensor'))}, such as {names[0]}")
    return model


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
