"""Scores and labels as the two tensors of `classify`, the best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modelmora.engines.architectures import is_multi_label
from modelmora.engines.numbers import finite
from modelmora.errors import Code, RequestError
from modelmora.kafka.sizes import check_inputs, inputs_that_fit
from modelmora.messages import Content, Parameter, Tensor
from modelmora.wire.tensors import framed


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best labels of one input and their scores."""

    scores: np.ndarray[Any, Any]
    labels: Sequence[str]


def check_labels(parameters: Mapping[str, Parameter], labels: Sequence[str], inputs: int) -> None:
    """Raises RequestError (too_large) where the labels of so many inputs might fit no result."""
    sizes = sorted((len(label.encode()) for label in labels), reverse=True)[: _count(parameters)]
    check_inputs(inputs, inputs_that_fit(8 * len(sizes) + sum(sizes)))


def check_own_labels(parameters: Mapping[str, Parameter]) -> None:
    """Raises RequestError (invalid_input) where a model is given labels that has its own."""
    if "candidate_labels" in parameters:
        raise RequestError(
            Code.INVALID_INPUT,
            "the model has labels of its own; `candidate_labels` are for models such as CLIP",
        )


def probabilities(logits: Any, config: Mapping[str, Any]) -> Any:
    """What transformers' pipelines make of logits [rows, labels], by `problem_type`."""
    if config.get("problem_type") == "regression":
        return logits
    if is_multi_label(config) or logits.shape[-1] == 1:
        return torch.sigmoid(logits)
    return torch.softmax(logits, dim=-1)


def ranked(
    scores: Sequence[Any], labels: Sequence[str], parameters: Mapping[str, Parameter]
) -> list[Ranked]:
    """The best of each row's scores [labels]; equal ones stay in the order of the labels.

    Raises RequestError where a score is no number.
    """
    answers = []
    for row in finite(scores):
        order = np.argsort(-row, kind="stable")[: _count(parameters)]
        answers.append(Ranked(row[order], [labels[place] for place in order]))
    return answers


def as_tensors(parts: Sequence[Ranked]) -> Sequence[Content]:
    """`scores` FP32 and `labels` BYTES, both [n, labels]."""
    scores = finite([part.scores for part in parts])
    words = b"".join(framed(label.encode()) for part in parts for label in part.labels)
    return (
        Tensor("scores", "FP32", scores.shape, scores.tobytes()),
        Tensor("labels", "BYTES", scores.shape, words),
    )


def _count(parameters: Mapping[str, Parameter]) -> int | None:
    top_k = parameters.get("top_k")
    return top_k if isinstance(top_k, int) else None
