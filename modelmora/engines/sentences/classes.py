"""The engines of `classify` and `rerank` on texts: sequence classifiers and cross-encoders.

Imported in a child only; torch and transformers are loaded with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from modelmora.engines.architectures import activation_of, labels_of
from modelmora.engines.base import Row, query_of, texts_of
from modelmora.engines.files import read_json
from modelmora.engines.labels import (
    as_tensors,
    check_labels,
    check_own_labels,
    probabilities,
    ranked,
)
from modelmora.engines.loading import SAFE, reading
from modelmora.engines.numbers import finite
from modelmora.engines.sentences.sentence import CONFIG
from modelmora.engines.sentences.texts import OnTexts
from modelmora.engines.sentences.tokens import Text, Tokenizer
from modelmora.messages import Content, InferenceRequest, Parameter, Tensor


class SequenceModel(OnTexts):
    """A transformer with a head that gives a number for each label."""

    _config: Mapping[str, Any]

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read weights and tokenizer; facts: max_tokens, device. Raises LoadError."""
        self._config = read_json(path / CONFIG)
        device = self.use_device(options)
        self.network = self.read(AutoModelForSequenceClassification, path, options)
        with reading("tokenizer"):
            hub = AutoTokenizer.from_pretrained(str(path), **SAFE)
            self.tokenizer = Tokenizer(hub, self.network)
        self.use_budget(options)
        return {"max_tokens": self.tokenizer.most, "device": device}


class TextClasses(SequenceModel):
    """One text classifier."""

    _labels: tuple[str, ...]

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read weights and tokenizer; facts: labels, max_tokens, device. Raises LoadError."""
        self._labels = labels_of(read_json(path / CONFIG))
        return {"labels": len(self._labels), **super().load(path, options)}

    def texts(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Text]:
        """The inputs."""
        own = texts_of(request)
        check_own_labels(parameters)
        check_labels(parameters, self._labels, len(own))
        return own

    def compute(self, inputs: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Any:
        """Scores [rows, labels]."""
        return probabilities(self.network(**inputs).logits, self._config)

    def run(self, rows: Sequence[Row], parameters: Mapping[str, Parameter]) -> Sequence[Any]:
        """The best labels of each text."""
        return ranked(super().run(rows, parameters), self._labels, parameters)

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """Tensors `scores` and `labels`, both [n, labels], the best first."""
        return as_tensors(parts)


class Reranker(SequenceModel):
    """One cross-encoder: the first input is the query, all others are documents."""

    first = 1

    def load(self, path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read weights and tokenizer; facts: max_tokens, device. Raises LoadError."""
        self._sigmoid = activation_of(path) == "sigmoid"
        return super().load(path, options)

    def texts(
        self, request: InferenceRequest, parameters: Mapping[str, Parameter]
    ) -> Sequence[Text]:
        """A pair of the query and each document."""
        query, documents = query_of(request)
        return [(query, document) for document in documents]

    def compute(self, inputs: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Any:
        """Scores [rows]."""
        logits = self.network(**inputs).logits[:, 0]
        return torch.sigmoid(logits) if self._sigmoid else logits

    def finish(self, request: InferenceRequest, parts: Sequence[Any]) -> Sequence[Content]:
        """One tensor `scores` [documents], in their order. Raises RequestError."""
        scores = finite(parts)
        return (Tensor("scores", "FP32", scores.shape, scores.tobytes()),)
