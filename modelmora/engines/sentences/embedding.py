"""The engine of `txt2embed`: texts to one FP32 tensor, as Sentence Transformers would compute it.

Imported in a child only; torch and transformers are loaded with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from modelmora.engines.base import texts_of
from modelmora.engines.loading import SAFE, reading
from modelmora.engines.numbers import finite
from modelmora.engines.sentences.sentence import (
    SentenceModel,
    dimensions_of,
    prompt_of,
    read_sentence_model,
)
from modelmora.engines.sentences.texts import OnTexts
from modelmora.engines.sentences.tokens import Text, Tokenizer
from modelmora.kafka.sizes import check_inputs, inputs_that_fit
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor

OUTPUT_NAME = "embedding"


class Embedding(OnTexts):
    """One sentence-embedding model of transformer, pooling and normalisation."""

    _files: SentenceModel

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read weights and tokenizer; facts: dimension, max_tokens, device. Raises LoadError."""
        self._files = read_sentence_model(path)
        device = self.use_device(options)
        folder = str(self._files.transformer)
        # Sentence models pool by themselves, and are saved without the pooler of their kind.
        self.network = self.read(AutoModel, self._files.transformer, options, unneeded="pooler")
        with reading("tokenizer"):
            self.tokenizer = Tokenizer(
                AutoTokenizer.from_pretrained(folder, **SAFE),
                self.network,
                self._files.max_tokens,
                lower_case=self._files.lower_case,
            )
        self.use_budget(options)
        self._dimension = self.network.config.hidden_size * len(self._files.pooling)
        return {
            "dimension": self._dimension,
            "max_tokens": self.tokenizer.most,
            "device": device,
        }

    def texts(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Text]:
        """The inputs, behind the prompt."""
        own = texts_of(request)
        check_inputs(len(own), inputs_that_fit(4 * dimensions_of(parameters, self._dimension)))
        prompt = prompt_of(parameters, self._files.prompts, self._files.prompt)
        return [prompt + text for text in own] if prompt else own

    def compute(self, inputs: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Any:
        """Vectors [rows, dimensions]."""
        hidden = self.network(**inputs).last_hidden_state
        vectors = pool(hidden, inputs["attention_mask"], self._files.pooling)
        vectors = vectors[:, : dimensions_of(parameters, self._dimension)]
        return torch.nn.functional.normalize(vectors) if self._files.normalize else vectors

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """One tensor [n, dimensions]. Raises RequestError where a number in it is none."""
        vectors = finite(parts)
        return (Tensor(OUTPUT_NAME, "FP32", vectors.shape, vectors.tobytes()),)


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
